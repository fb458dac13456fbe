//! What variables stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use k8s_openapi::api::core::v1::{EnvVarSource, SecretKeySelector};
use sequencer_api::Workspace;
use sequencer_api::code::Code;
use sequencer_api::component::ComponentTemplate;
use sequencer_api::condition::{ConditionType, Expected, Reason};
use sequencer_api::host::{Refusal, Schemes};
use sequencer_api::status::component::WaitingFor;
use sequencer_api::variables::{Field, Piece, Variable, parse};
use sequencer_api::workspace::{Networking, Variable as Named};

use super::used::{Used, UsedBuild, current};
use super::{View, service};
use crate::args::Settings;

/// How many bytes of text a Component may have with its variables in place: in its images,
/// commands, arguments and environment values together. Much can be made of little: a variable of 4
/// KiB that is named in 15 characters, again and again, would fill any memory.
const MAX_TEXT: usize = 1 << 20;

/// How much of a name that does not exist is repeated.
pub(super) const SHOWN: usize = 64;

/// Puts values into texts, and notes what it took and what is missing.
pub(super) struct Renderer<'a> {
    view: &'a View,
    settings: &'a Settings,
    templates: Vec<&'a ComponentTemplate>,
    /// The values of the Workspace's variables that were needed so far: each is rendered once.
    named: BTreeMap<&'a str, Rc<str>>,
    /// How many bytes more there may be.
    left: usize,
    pub(super) used: Used,
    pub(super) missing: Vec<WaitingFor>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(view: &'a View, settings: &'a Settings) -> Self {
        Self {
            view,
            settings,
            templates: view.templates(),
            named: BTreeMap::new(),
            left: MAX_TEXT,
            used: Used::default(),
            missing: Vec::new(),
        }
    }

    /// A text with values in it. `at` is where it stands.
    pub(super) fn text(&mut self, at: &str, text: &str) -> Result<String, Refusal> {
        let pieces = Self::pieces(at, text)?;
        self.pieces_text(at, pieces)
    }

    /// The text of an image; whether it is one of our Builds'.
    pub(super) fn image(&mut self, at: &str, text: &str) -> Result<(String, bool), Refusal> {
        let pieces = Self::pieces(at, text)?;
        let builds: BTreeSet<_> = pieces
            .iter()
            .filter_map(build_of)
            .map(ToOwned::to_owned)
            .collect();
        let rendered = self.pieces_text(at, pieces)?;

        for build in self
            .used
            .builds
            .iter_mut()
            .filter(|build| builds.contains(&build.name))
        {
            build.runs = true;
        }

        Ok((rendered, !builds.is_empty()))
    }

    fn pieces_text(&mut self, at: &str, pieces: Vec<Piece>) -> Result<String, Refusal> {
        let mut rendered = String::new();

        for piece in pieces {
            match piece {
                Piece::Text(text) => self.push(&mut rendered, at, &text)?,
                Piece::Variable(variable) => {
                    let value = self.value(at, &variable)?;
                    self.push(&mut rendered, at, &value)?;
                }
            }
        }

        Ok(rendered)
    }

    /// Counts what is put in before there is room for it.
    fn push(&mut self, rendered: &mut String, at: &str, text: &str) -> Result<(), Refusal> {
        self.left = self.left.checked_sub(text.len()).ok_or_else(|| {
            let message = format!(
                "{at}: with its variables in place, the text of the component comes to more than {MAX_TEXT} bytes"
            );
            Refusal::new(Code::RenderedTooLarge, message)
        })?;
        rendered.push_str(text);
        Ok(())
    }

    /// The source of an environment variable whose whole value is a generated variable.
    pub(super) fn generated(
        &mut self,
        at: &str,
        text: &str,
    ) -> Result<Option<EnvVarSource>, Refusal> {
        let pieces = Self::pieces(at, text)?;
        let [Piece::Variable(Variable::Named(name))] = pieces.as_slice() else {
            return Ok(None);
        };

        let Some(generate) = self.named(at, name)?.generate.as_ref() else {
            return Ok(None);
        };

        if !self.used.generated.iter().any(|(known, _)| known == name) {
            self.used.generated.push((name.clone(), generate.length));
        }

        let secret_key_ref = SecretKeySelector {
            name: self.view.owner().variables(),
            key: name.clone(),
            optional: None,
        };

        Ok(Some(EnvVarSource {
            secret_key_ref: Some(secret_key_ref),
            ..EnvVarSource::default()
        }))
    }

    fn pieces(at: &str, text: &str) -> Result<Vec<Piece>, Refusal> {
        parse(text).map_err(|malformed| Refusal::new(malformed.code, format!("{at}: {malformed}")))
    }

    fn value(&mut self, at: &str, variable: &Variable) -> Result<Rc<str>, Refusal> {
        Ok(match variable {
            Variable::Image(name) => self
                .build(at, name)?
                .map(|build| build.image)
                .unwrap_or_default()
                .into(),
            Variable::Commit(name) => self
                .build(at, name)?
                .map(|build| build.commit)
                .unwrap_or_default()
                .into(),
            Variable::Host { component, network } => {
                let host =
                    |(network, _): (String, i32)| service::host(self.view, component, &network);
                let found = self.network(at, component, network)?;
                found.map(host).unwrap_or_default().into()
            }
            Variable::Port { component, network } => {
                let port = |(_, port): (String, i32)| port.to_string();
                let found = self.network(at, component, network)?;
                found.map(port).unwrap_or_default().into()
            }
            Variable::Workspace(field) => self.workspace(at, *field)?.into(),
            Variable::Ingress(rule) => self.rule(at, rule)?.into(),
            Variable::Named(name) => self.named_value(at, name)?,
        })
    }

    /// The value of one of the Workspace's variables. However often a template names it, it is
    /// rendered once.
    fn named_value(&mut self, at: &str, name: &str) -> Result<Rc<str>, Refusal> {
        if let Some(known) = self.named.get(name) {
            return Ok(Rc::clone(known));
        }

        let named = self.named(at, name)?;
        let Some(value) = &named.value else {
            return Err(Refusal::new(
                Code::GeneratedVariableEmbedded,
                format!(
                    "{at}: ${{variables::{name}}} is generated and can only be a whole env value"
                ),
            ));
        };

        let rendered: Rc<str> = self.nested(at, value)?.into();
        self.named.insert(&named.name, Rc::clone(&rendered));
        Ok(rendered)
    }

    /// The value of a variable may hold the Workspace's own words, and nothing else.
    fn nested(&mut self, at: &str, value: &str) -> Result<String, Refusal> {
        let mut rendered = String::new();

        for piece in Self::pieces(at, value)? {
            match piece {
                Piece::Text(text) => rendered.push_str(&text),
                Piece::Variable(Variable::Workspace(field)) => {
                    rendered.push_str(&self.workspace(at, field)?)
                }
                Piece::Variable(_) => {
                    let message =
                        format!("{at}: the value of a variable may hold ${{workspace::...}} only");
                    return Err(Refusal::new(Code::VariableSectionUnknown, message));
                }
            }
        }

        Ok(rendered)
    }

    fn unknown(
        at: &str,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = String>,
    ) -> Refusal {
        let known: Vec<_> = known.into_iter().take(20).collect();
        let known = if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        };

        let name: String = name.chars().take(SHOWN).collect();
        Refusal::new(
            Code::VariableNameUnknown,
            format!("{at}: no {what} {name:?}; known: {known}"),
        )
    }

    /// The name and the port of a component's network; none, and noted as missing, if the component
    /// may be applied later.
    fn network(
        &mut self,
        at: &str,
        component: &str,
        network: &str,
    ) -> Result<Option<(String, i32)>, Refusal> {
        let mut templates = self.templates.iter();
        let Some(template) = templates.find(|template| template.name == component) else {
            if self.view.workspace.is_none() {
                self.wait(component.into(), ConditionType::Network, None);
                return Ok(None);
            }
            let known = self.templates.iter().map(|template| template.name.clone());
            return Err(Self::unknown(at, "component", component, known));
        };

        let found = template
            .networks
            .iter()
            .find(|each| each.name.eq_ignore_ascii_case(network));
        let known = || template.networks.iter().map(|network| network.name.clone());

        found
            .map(|found| Some((found.name.clone(), found.port)))
            .ok_or_else(|| Self::unknown(at, &format!("network of {component}"), network, known()))
    }

    fn networking(&self) -> Option<&'a Networking> {
        self.view.workspace.as_ref()?.spec.networking.as_ref()
    }

    /// The Workspace's host, if it is known yet.
    fn host(&mut self, at: &str) -> Result<Option<String>, Refusal> {
        if self.networking().is_none() {
            return Err(Self::unknown(
                at,
                "host: the Workspace has no networking, so",
                "host",
                [],
            ));
        }

        let host = self
            .view
            .workspace_status()
            .and_then(|status| status.host.clone());
        if host.is_none() {
            self.wait(
                self.view.template().name.clone(),
                ConditionType::Variables,
                None,
            );
        }

        Ok(host)
    }

    fn workspace(&mut self, at: &str, field: Field) -> Result<String, Refusal> {
        Ok(match field {
            Field::Name => self.view.owner().name.into(),
            Field::Namespace => self.view.namespace().into(),
            Field::Host => self.host(at)?.unwrap_or_default(),
            Field::Url => {
                let schemes = Schemes::from(&self.settings.urls);
                let workspace = self.view.workspace.as_ref();
                let scheme = workspace.map_or("https", |workspace| workspace.scheme(&schemes));
                self.host(at)?
                    .map(|host| format!("{scheme}://{host}"))
                    .unwrap_or_default()
            }
        })
    }

    fn rule(&mut self, at: &str, name: &str) -> Result<String, Refusal> {
        let workspace = self.view.workspace.as_ref();
        let routes = workspace.map(Workspace::routes).unwrap_or_default();
        let Some(routed) = routes.iter().find(|routed| routed.name == Some(name)) else {
            let known = routes.iter().filter_map(|routed| routed.name);
            return Err(Self::unknown(at, "rule", name, known.map(Into::into)));
        };

        let host = self.host(at)?;
        Ok(host.map(|host| routed.host(&host)).unwrap_or_default())
    }

    fn named(&self, at: &str, name: &str) -> Result<&'a Named, Refusal> {
        let all = self
            .view
            .workspace
            .as_ref()
            .map(|workspace| workspace.spec.variables.as_slice())
            .unwrap_or_default();
        let found = all.iter().find(|variable| variable.name == name);

        found.ok_or_else(|| {
            Self::unknown(
                at,
                "variable",
                name,
                all.iter().map(|variable| variable.name.clone()),
            )
        })
    }

    /// The Build that a name stands for now; none, and noted as missing, if none is published yet.
    fn build(&mut self, at: &str, name: &str) -> Result<Option<UsedBuild>, Refusal> {
        if let Some(known) = self.used.builds.iter().find(|build| build.name == name) {
            return Ok(Some(known.clone()));
        }

        let builds = |template: &&'a ComponentTemplate| {
            template.build.as_ref().map(|build| build.name.as_str())
        };

        let Some(maker) = self
            .templates
            .iter()
            .find(|template| builds(template) == Some(name))
        else {
            let known = self.templates.iter().filter_map(builds).map(Into::into);
            return Err(Self::unknown(at, "build", name, known));
        };

        if self.missing.iter().any(|missing| {
            missing.condition_type == ConditionType::Build && missing.component_name == maker.name
        }) {
            return Ok(None);
        }

        let Some(current) = current(self.view, name) else {
            self.wait(maker.name.clone(), ConditionType::Build, None);
            return Ok(None);
        };

        if maker.name == self.view.template().name {
            self.used.builds.insert(0, current.clone());
        } else {
            self.used.builds.push(current.clone());
        }

        Ok(Some(current))
    }

    fn wait(&mut self, component: String, condition: ConditionType, now: Option<String>) {
        let waiting = WaitingFor {
            component_name: component,
            condition_type: condition,
            condition_status: Expected::Reason(Reason::Completed),
            now,
        };
        if !self.missing.contains(&waiting) {
            self.missing.push(waiting);
        }
    }
}

/// The Build whose image stands here.
fn build_of(piece: &Piece) -> Option<&str> {
    match piece {
        Piece::Variable(Variable::Image(name)) => Some(name),
        Piece::Variable(_) | Piece::Text(_) => None,
    }
}

#[cfg(test)]
mod tests;
