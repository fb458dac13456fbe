//! The Ingress of a Workspace: pure, from what was read.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1;
use sequencer_api::code::Code;
use sequencer_api::names::Owner;
use sequencer_api::status::workspace::ServedRule;
use sequencer_api::stored::Stored as _;
use sequencer_api::workspace::{Ingress, IngressRule, IssuerKind};
use sequencer_api::{Workspace, labels};
use serde_json::{Value, json};

use super::labels::{inherited_of, owner_reference};
use super::service::PORT;
use crate::args::Settings;
use crate::error::Error;
use sequencer_api::host::{Refusal, Schemes};
use sequencer_runtime::apply::Object;

/// Where an Ingress has its rules.
const RULES: &str = "/spec/rules";

/// What is made for a Workspace with an ingress.
#[derive(Clone, Debug)]
pub struct IngressPlan {
    pub object: Object,
    pub class: Option<String>,
    pub rules: Vec<ServedRule>,
    /// The Secret with its certificate.
    pub tls_secret: Option<String>,
}

/// Where a certificate comes from.
#[derive(Debug, Default)]
struct Certificate {
    enabled: bool,
    secret: Option<String>,
    /// The annotation that asks cert-manager for it.
    issuer: Option<(&'static str, String)>,
}

impl IngressPlan {
    /// The Ingress where the ports of these Services have another name: that of an earlier version.
    #[must_use]
    pub fn by_numbers_of(&self, services: &BTreeSet<String>) -> Object {
        let mut rules = self.object.body.pointer(RULES).cloned();
        let paths = rules.iter_mut().filter_map(Value::as_array_mut).flatten();
        let paths = paths.filter_map(|rule| rule.pointer_mut("/http/paths")?.as_array_mut());

        for service in paths
            .flatten()
            .filter_map(|path| path.pointer_mut("/backend/service"))
        {
            let mut served = self.rules.iter();
            let served = served.find(|rule| service.get("name") == Some(&json!(rule.service)));
            let served = served.filter(|rule| services.contains(&rule.service));
            if let Some(rule) = served {
                *service = json!({"name": rule.service, "port": {"number": rule.port}});
            }
        }
        self.object.with(RULES, json!(rules))
    }
}

/// Plans the Ingress of a Workspace at its host.
///
/// # Errors
/// It asks for something that cannot be.
pub fn plan(
    workspace: &Workspace,
    ingress: &Ingress,
    host: &str,
    settings: &Settings,
) -> Result<IngressPlan, Error> {
    if ingress.gateway_ref.is_some() {
        let message = "networking.ingress.gatewayRef: Gateways are not served yet; use className";
        return Err(Refusal::new(Code::GatewayUnsupported, message).into());
    }

    let allowed = settings.allowed_annotations();

    if let Some(key) = ingress
        .annotations
        .keys()
        .find(|key| !allowed.contains(key.as_str()))
    {
        let message = format!(
            "networking.ingress.annotations: {key} is not in the chart's ingress.allowedAnnotations"
        );
        return Err(Refusal::new(Code::AnnotationForbidden, message).into());
    }

    let rules = ingress
        .rules
        .iter()
        .map(|rule| served(workspace, rule, host))
        .collect::<Result<Vec<_>, _>>()?;
    let certificate = certificate(workspace, ingress, settings);
    let class = ingress
        .class_name
        .clone()
        .or_else(|| settings.ingress_class.clone());
    let object = object(
        workspace,
        ingress,
        settings,
        &rules,
        &certificate,
        class.as_ref(),
    )?;

    Ok(IngressPlan {
        object,
        class,
        rules,
        tls_secret: certificate.secret,
    })
}

fn served(workspace: &Workspace, rule: &IngressRule, host: &str) -> Result<ServedRule, Refusal> {
    let network = workspace.network(&rule.component, &rule.network);
    let network = network.ok_or_else(|| {
        let message = format!(
            "networking.ingress.rules[{}]: no network {} of {}",
            rule.name, rule.network, rule.component
        );
        Refusal::new(Code::RouteTargetUnknown, message)
    })?;

    Ok(ServedRule {
        name: rule.name.clone(),
        host: rule.routed().host(host),
        path: rule.path.clone(),
        service: Owner::of(workspace).service(&rule.component, &network.name),
        port: network.port,
    })
}

/// The Workspace's own words, else the chart's.
fn certificate(workspace: &Workspace, ingress: &Ingress, settings: &Settings) -> Certificate {
    let enabled = ingress.is_https(&Schemes::from(&settings.urls));
    if !enabled {
        return Certificate::default();
    }
    let own = ingress.tls.as_ref();
    let named = own.and_then(|tls| tls.secret_name.clone());
    let issuer = own.and_then(|tls| tls.issuer_ref.as_ref()).map(|issuer| {
        let key = match issuer.kind {
            IssuerKind::Issuer => "cert-manager.io/issuer",
            IssuerKind::ClusterIssuer => "cert-manager.io/cluster-issuer",
        };
        (key, issuer.name.clone())
    });
    let silent = named.is_none() && issuer.is_none();
    let chart = settings
        .ingress_tls_issuer
        .as_deref()
        .filter(|_| silent && settings.ingress_tls_secret.is_none());
    let chart = chart.map(|issuer| match issuer.split_once('/') {
        Some(("Issuer", name)) => ("cert-manager.io/issuer", name.to_owned()),
        Some((_, name)) => ("cert-manager.io/cluster-issuer", name.to_owned()),
        None => ("cert-manager.io/cluster-issuer", issuer.to_owned()),
    });
    let issuer = issuer.or(chart);
    let issued = issuer
        .as_ref()
        .map(|_issuer| format!("{}-tls", Owner::of(workspace).ingress()));
    let secret = named
        .or(issued)
        .or_else(|| settings.ingress_tls_secret.clone());
    Certificate {
        enabled,
        secret,
        issuer,
    }
}

fn object(
    workspace: &Workspace,
    ingress: &Ingress,
    settings: &Settings,
    served: &[ServedRule],
    certificate: &Certificate,
    class: Option<&String>,
) -> Result<Object, Error> {
    let mut annotations = ingress.annotations.clone();
    annotations.extend(
        certificate
            .issuer
            .iter()
            .map(|(key, name)| ((*key).to_owned(), name.clone())),
    );

    let rules = paths(ingress, served);
    let mut spec = json!({"rules": rules});
    if let Some(spec) = spec.as_object_mut() {
        spec.extend(class.map(|class| ("ingressClassName".to_owned(), json!(class))));
        let hosts: Vec<_> = rules.iter().map(|rule| rule["host"].clone()).collect();
        let tls = match &certificate.secret {
            Some(secret) => json!([{"hosts": hosts, "secretName": secret}]),
            None => json!([{"hosts": hosts}]),
        };
        spec.extend(certificate.enabled.then_some(("tls".to_owned(), tls)));
    }

    let owner = Owner::of(workspace);
    let body = json!({
        "metadata": {
            "name": owner.ingress(), "namespace": workspace.metadata.namespace, "annotations": annotations,
            "labels": labels(workspace, settings), "ownerReferences": [owner_reference(workspace)?],
        },
        "spec": spec,
    });
    Ok(Object::new::<v1::Ingress>(body))
}

/// One rule for each host, in the order of their first paths.
fn paths(ingress: &Ingress, served: &[ServedRule]) -> Vec<Value> {
    let mut rules: Vec<Value> = Vec::new();
    for (rule, served) in ingress.rules.iter().zip(served) {
        let path = json!({
            "path": served.path, "pathType": rule.path_type,
            "backend": {"service": {"name": served.service, "port": {"name": PORT}}},
        });
        let known = rules
            .iter_mut()
            .find(|known| known["host"] == served.host.as_str());
        match known
            .and_then(|known| known.pointer_mut("/http/paths"))
            .and_then(Value::as_array_mut)
        {
            Some(paths) => paths.push(path),
            None => rules.push(json!({"host": served.host, "http": {"paths": [path]}})),
        }
    }
    rules
}

fn labels(workspace: &Workspace, settings: &Settings) -> BTreeMap<String, String> {
    let theirs = workspace.metadata.labels.as_ref();
    let mut labels = theirs
        .map(|theirs| inherited_of(theirs, settings))
        .unwrap_or_default();

    labels.extend(labels::made_for(
        Owner::of(workspace),
        workspace.namespace_str(),
    ));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing;

    /// The plan of the sample with an ingress of this shape.
    fn planned(flags: &[&str], fields: Value) -> Result<IngressPlan, Refusal> {
        let workspace = testing::workspace(|spec| {
            let rule = |name: &str, subdomain: Value, path: &str| json!({"name": name, "component": "click-mania", "network": "http", "subdomain": subdomain, "path": path});
            let rules = json!([
                rule("a", json!(null), "/"),
                rule("b", json!("admin"), "/"),
                rule("c", json!(null), "/c")
            ]);
            let mut ingress = json!({"rules": rules});
            ingress
                .as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            spec["networking"] = json!({"dns": {"zone": "yourdomain.com"}, "ingress": ingress});
        });
        let ingress = workspace
            .spec
            .networking
            .as_ref()
            .unwrap()
            .ingress
            .as_ref()
            .unwrap();

        plan(
            &workspace,
            ingress,
            "workspace-sample-x7k2p-3fq7ad.yourdomain.com",
            &testing::settings(flags),
        )
        .map_err(testing::refusal)
    }

    #[test]
    fn a_service_of_an_earlier_version_is_reached_by_its_number() {
        let plan = planned(&[], json!({})).unwrap();
        let rule = &plan.rules[0];
        let backend = |object: &Object| {
            object.body["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].clone()
        };

        assert_eq!(
            backend(&plan.object),
            json!({"name": rule.service, "port": {"name": "port"}})
        );
        let by_number = plan.by_numbers_of(&BTreeSet::from([rule.service.clone()]));
        assert_eq!(
            backend(&by_number),
            json!({"name": rule.service, "port": {"number": rule.port}})
        );
        let other = plan.by_numbers_of(&BTreeSet::from(["another".into()]));
        assert_eq!(backend(&other), backend(&plan.object));
    }

    #[test]
    fn paths_of_one_host_stand_in_one_rule() {
        let plan = planned(&["--ingress-class=traefik"], json!({})).unwrap();
        let spec = &plan.object.body["spec"];
        let hosts: Vec<_> = spec["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| rule["host"].clone())
            .collect();
        let host = "workspace-sample-x7k2p-3fq7ad.yourdomain.com";
        assert_eq!(hosts, [json!(host), json!(format!("admin-{host}"))]);
        assert_eq!(
            spec["rules"][0]["http"]["paths"].as_array().map(Vec::len),
            Some(2)
        );
        assert_eq!(
            (&spec["ingressClassName"], &spec["tls"]),
            (&json!("traefik"), &json!([{"hosts": hosts}]))
        );
        assert_eq!(
            planned(&["--ingress-class=traefik"], json!({"className": "x"}))
                .unwrap()
                .class,
            Some("x".into())
        );
    }

    #[test]
    fn a_certificate_is_the_workspaces_own_else_the_charts() {
        let of = |flags: &[&str], tls: Value| {
            let plan = planned(flags, json!({"tls": tls})).unwrap();
            let annotations = plan.object.body["metadata"]["annotations"].clone();
            let secret = plan
                .object
                .body
                .pointer("/spec/tls/0/secretName")
                .and_then(Value::as_str)
                .map(Into::into);
            (
                secret,
                annotations["cert-manager.io/cluster-issuer"]
                    .as_str()
                    .map(Into::into),
            )
        };
        let made = Some(format!(
            "{}-tls",
            Owner::of(&testing::workspace(|_spec| ())).ingress()
        ));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(of(&[], json!({"enabled": true})), (None, None));
        assert_eq!(of(&[], json!({"secretName": "own"})), (text("own"), None));
        let issuer = json!({"issuerRef": {"kind": "ClusterIssuer", "name": "le"}});
        assert_eq!(of(&[], issuer), (made.clone(), text("le")));
        assert_eq!(
            of(&["--ingress-tls-secret=wild"], json!({})),
            (text("wild"), None)
        );
        assert_eq!(
            of(&["--ingress-tls-issuer=ClusterIssuer/le"], json!({})),
            (made, text("le"))
        );
        let flags = ["--ingress-tls-issuer=ClusterIssuer/le"];
        assert_eq!(
            of(&flags, json!({"secretName": "own"})),
            (text("own"), None)
        );
        let off = planned(&[], json!({"tls": {"enabled": false}})).unwrap();
        assert!(off.object.body["spec"].get("tls").is_none());
    }

    #[test]
    fn only_annotations_of_the_charts_list_are_taken() {
        let annotations = json!({"annotations": {"a/b": "c"}});
        assert_eq!(
            planned(&["--ingress-annotations=x/y"], annotations.clone())
                .unwrap_err()
                .code,
            Code::AnnotationForbidden
        );

        let plan = planned(&["--ingress-annotations=x/y,a/b"], annotations).unwrap();
        assert_eq!(plan.object.body["metadata"]["annotations"]["a/b"], "c");
    }
}
