//! The envelope every answer of the API comes in, and its pages.
use std::{collections::HashMap, io};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::record::Refusal;

/// An answer with `success: false`.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    code: u32,
    message: String,
    chain: Option<(u32, &'static str)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            chain: None,
        }
    }

    pub(crate) fn bad(code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn because(self, code: u32, message: &'static str) -> Self {
        Self {
            chain: Some((code, message)),
            ..self
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Some((code, message)), Some(error)) = (self.chain, error.as_object_mut()) {
            error.insert(
                "error_chain".into(),
                json!([{"code": code, "message": message}]),
            );
        }

        let body = json!({"success": false, "errors": [error], "messages": [], "result": null});
        (self.status, Json(body)).into_response()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::bad(refusal.code, refusal.message)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        tracing::error!(%error, "the state is not written");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            10_001,
            "Internal server error",
        )
    }
}

pub(crate) fn ok(result: Value) -> Response {
    Json(json!({"success": true, "errors": [], "messages": [], "result": result})).into_response()
}

/// The query of a list.
pub(crate) type Filter = HashMap<String, String>;

/// The page a list asks for, with `result_info`.
pub(crate) fn page(
    items: &[Value],
    filter: &Filter,
    default: usize,
    most: usize,
) -> Result<Response, Problem> {
    let number = |name: &str, default: usize, most: usize| match filter
        .get(name)
        .map(|text| text.parse::<usize>())
    {
        None => Ok(default),
        Some(Ok(value)) if (1..=most).contains(&value) => Ok(value),
        Some(_) => Err(Problem::bad(1_004, format!("Invalid {name} parameter"))),
    };
    let (page, per_page) = (
        number("page", 1, usize::MAX)?,
        number("per_page", default, most)?,
    );
    let shown: Vec<_> = items
        .iter()
        .skip((page - 1).saturating_mul(per_page))
        .take(per_page)
        .collect();
    let info = json!({
        "page": page,
        "per_page": per_page,
        "count": shown.len(),
        "total_count": items.len(),
        "total_pages": items.len().div_ceil(per_page),
    });
    let body = json!({"success": true, "errors": [], "messages": [], "result": shown, "result_info": info});
    Ok(Json(body).into_response())
}
