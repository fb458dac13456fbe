//! What a component takes from elsewhere: variables of its Workspace, other components, Builds, the
//! labels of both, and the routes that lead to it. Pods and policies that were made of something
//! else are older than the spec, although their Component says nothing of it.

use std::collections::BTreeSet;

use kube::{Resource, ResourceExt as _};

use crate::component::ComponentTemplate;
use crate::labels::is_reserved;
use crate::names::h10;
use crate::owner::is_controlled_by;
use crate::routes::Through;
use crate::variables::{Field, Piece, Variable, parse};
use crate::{Build, Component, Workspace};

/// What is known around a Component.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// The Component itself.
    pub component: &'a Component,
    /// Its Workspace, or None if it is on its own.
    pub workspace: Option<&'a Workspace>,
    /// The Components beside it that are as the Workspace has them now.
    pub siblings: Vec<&'a Component>,
    /// The Builds of all of them.
    pub builds: Vec<&'a Build>,
}

impl<'a> Surroundings<'a> {
    /// Returns a hash of all that the component takes from elsewhere, as far as it is known now; None
    /// if it takes nothing.
    #[must_use]
    pub fn inputs(&self) -> Option<String> {
        let template = serde_json::to_string(&self.component.spec.template.template).ok()?;
        let pieces = parse(&template).ok()?;
        let variables: BTreeSet<_> = pieces.into_iter().filter_map(variable).collect();

        let values = variables.iter().map(|variable| self.value(variable));
        let values = values.chain(self.routes()).chain(self.labels());
        let values: Vec<_> = values.collect();
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        (!values.is_empty()).then(|| h10(&values))
    }

    /// Returns the Build that stands for a name in variables: the wanted one of its maker once it is
    /// published, else the one that serves, else the last that was made. Without a Workspace names
    /// are each Component's own.
    #[must_use]
    pub fn build(&self, name: &str) -> Option<&'a Build> {
        let makes = |template: &ComponentTemplate| {
            let build = template.build.as_ref();
            build.is_some_and(|build| build.name == name)
        };
        let own = std::iter::once(self.component);
        let mut makers = own.chain(self.siblings.iter().copied());
        let maker = makers.find(|maker| makes(&maker.spec.template));
        let wanted = maker.and_then(|maker| maker.status.as_ref()?.latest_build.as_deref());
        let status = self.component.status.as_ref();
        let serves = status.and_then(|status| status.deploy.build.as_deref());

        let theirs = |build: &&Build| {
            build.spec.name == name
                && (self.workspace.is_some()
                    || maker.is_some_and(|maker| is_controlled_by(*build, maker)))
        };
        Build::to_run(self.builds.iter().copied().filter(theirs), wanted, serves)
    }

    /// What a variable follows from. It need not be its value, as long as it changes with it.
    fn value(&self, variable: &Variable) -> String {
        let networking = || {
            let workspace = self.workspace?;
            let host = workspace.status.as_ref()?.host.clone()?;
            Some(format!("{host} {}", json(&workspace.spec.networking)))
        };

        match variable {
            Variable::Image(name) | Variable::Commit(name) => {
                self.build(name).map(Build::name_any).unwrap_or_default()
            }
            Variable::Host { component, .. } | Variable::Port { component, .. } => {
                self.networks(component)
            }
            // They never change.
            Variable::Workspace(Field::Name | Field::Namespace) => String::new(),
            Variable::Workspace(_) | Variable::Ingress(_) => networking().unwrap_or_default(),
            Variable::Named(name) => {
                let variables = self
                    .workspace
                    .iter()
                    .flat_map(|found| &found.spec.variables);
                let named: Vec<_> = variables.filter(|found| found.name == *name).collect();
                let value = json(&named);
                // It may hold the Workspace's own words.
                let nested = value.contains("${").then(networking).flatten();
                format!("{value} {}", nested.unwrap_or_default())
            }
        }
    }

    /// The labels that users chose: those that the chart names flow down.
    fn labels(&self) -> Vec<String> {
        let workspace = self.workspace.map(Resource::meta);
        let metas = workspace.into_iter().chain([self.component.meta()]);
        let all = metas.flat_map(|meta| meta.labels.iter().flatten());
        let free = all.filter(|(key, _)| !is_reserved(key));
        free.map(|(key, value)| format!("label {key}={value}"))
            .collect()
    }

    /// The networks that something outside reaches, and how.
    fn routes(&self) -> BTreeSet<String> {
        let routes = self.workspace.map(Workspace::routes).unwrap_or_default();
        let name = &self.component.spec.template.name;
        let to_it = routes.iter().filter(|routed| routed.component == name);
        to_it
            .map(|routed| match routed.through {
                Through::Tunnel(_) => format!("tunnel {}", routed.network),
                Through::Ingress => format!("ingress {}", routed.network),
            })
            .collect()
    }

    fn networks(&self, name: &str) -> String {
        if let Some(workspace) = self.workspace {
            let mut templates = workspace.spec.components.iter();
            let found = templates.find(|template| template.name == name);
            return found.map_or_else(String::new, |found| json(&found.networks));
        }

        // On its own each Component has Services of its own name.
        let mut components = self.siblings.iter().copied().chain([self.component]);
        let found = components.find(|component| component.spec.template.name == name);
        found.map_or_else(String::new, |found| {
            let uid = found.metadata.uid.as_deref().unwrap_or_default();
            format!("{uid} {}", json(&found.spec.template.networks))
        })
    }
}

fn variable(piece: Piece) -> Option<Variable> {
    match piece {
        Piece::Variable(variable) => Some(variable),
        Piece::Text(_) => None,
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn workspace(spec: &Value) -> Workspace {
        let value = json!({
            "metadata": {"name": "w", "namespace": "a", "uid": "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10"},
            "spec": spec, "status": {"host": "w.example.com"},
        });
        serde_json::from_value(value).unwrap()
    }

    /// A spec of one component with this variable's value and this port, whose `env` is this.
    fn spec(value: &str, port: i32, env: &str) -> Value {
        json!({
            "variables": [{"name": "A", "value": value}, {"name": "B", "value": "b"}],
            "components": [{
                "name": "web", "networks": [{"name": "http", "port": port}],
                "template": {"containers": [{"name": "c", "image": "c", "env": [{"name": "E", "value": env}]}]},
            }],
        })
    }

    fn component(workspace: &Workspace) -> Component {
        let value = json!({"metadata": {"name": "web"}, "spec": workspace.spec.components[0]});
        serde_json::from_value(value).unwrap()
    }

    fn inputs(spec: &Value) -> Option<String> {
        inputs_in(&workspace(spec))
    }

    fn inputs_in(workspace: &Workspace) -> Option<String> {
        let component = component(workspace);
        let surroundings = Surroundings {
            component: &component,
            workspace: Some(workspace),
            siblings: Vec::new(),
            builds: Vec::new(),
        };
        surroundings.inputs()
    }

    #[test]
    fn what_takes_nothing_from_elsewhere_has_no_inputs() {
        for env in ["plain", "$${variables::A}", "${HOME}", "$(A)"] {
            assert_eq!(inputs(&spec("1", 80, env)), None, "{env}");
        }
    }

    #[test]
    fn inputs_change_with_what_is_taken_and_with_nothing_else() {
        let port = "${components::web.networks.http.port}";

        for (env, value, networks) in [
            ("${variables::A}", true, false),
            ("${variables::B}", false, false),
            (port, false, true),
            ("${workspace::url}", false, false),
        ] {
            let before = inputs(&spec("1", 80, env));
            assert!(before.is_some(), "{env}");
            assert_eq!(inputs(&spec("2", 80, env)) != before, value, "{env}");
            assert_eq!(inputs(&spec("1", 81, env)) != before, networks, "{env}");
        }
    }

    #[test]
    fn inputs_change_with_the_way_from_outside() {
        let routed = |networking: Value| {
            let mut spec = spec("1", 80, "plain");
            spec["networking"] = networking;
            inputs(&spec)
        };
        let ingress = |component: &str, network: &str| {
            let rule = json!({"name": "main", "component": component, "network": network});
            routed(json!({"dns": {"zone": "example.com"}, "ingress": {"rules": [rule]}}))
        };
        let route = json!({"component": "web", "network": "http"});
        let tunnel = json!({"cloudflare": {
            "accountId": "a", "route": route, "secretKeyRef": {"name": "token", "key": "k"},
        }});
        let tunnel = routed(json!({"dns": {"zone": "example.com"}, "tunnel": tunnel}));

        let others = [ingress("other", "http"), tunnel, ingress("web", "more")];
        assert_eq!(others[0], None);
        assert!(ingress("web", "http").is_some());
        for other in others {
            assert_ne!(ingress("web", "http"), other);
        }
    }

    #[test]
    fn inputs_change_with_labels_that_users_chose() {
        let labelled = |label: &str, value: &str| {
            let mut workspace = workspace(&spec("1", 80, "plain"));
            workspace.labels_mut().insert(label.into(), value.into());
            inputs_in(&workspace)
        };

        assert_eq!(labelled("app.kubernetes.io/name", "a"), None);
        assert!(labelled("team", "a").is_some());
        assert_ne!(labelled("team", "a"), labelled("team", "b"));
    }

    #[test]
    fn inputs_of_a_component_on_its_own_change_with_another_that_is_made_anew() {
        let of = |name: &str, uid: &str, env: &str| {
            let container =
                json!({"name": "c", "image": "c", "env": [{"name": "E", "value": env}]});
            let value = json!({
                "metadata": {"name": name, "uid": uid},
                "spec": {"name": name, "template": {"containers": [container]}},
            });
            serde_json::from_value::<Component>(value).unwrap()
        };
        let app = of("app", "a", "${components::db.networks.tcp}");
        let inputs = |db: &Component| {
            let surroundings = Surroundings {
                component: &app,
                workspace: None,
                siblings: vec![db],
                builds: Vec::new(),
            };
            surroundings.inputs()
        };

        let (db, anew) = (of("db", "1", ""), of("db", "2", ""));
        assert_eq!(inputs(&db), inputs(&db));
        assert_ne!(inputs(&db), inputs(&anew));
    }

    #[test]
    fn on_its_own_each_component_has_the_builds_that_it_made_whatever_their_name() {
        let container = json!({"name": "c", "image": "${build::app}"});
        let of = |name: &str, latest: &str| {
            let build = json!({"name": "app", "importContent": [], "containerRegistries": []});
            let value = json!({
                "metadata": {"name": name, "namespace": "n", "uid": name},
                "spec": {"name": name, "build": build, "template": {"containers": [container]}},
                "status": {"latestBuild": latest},
            });
            serde_json::from_value::<Component>(value).unwrap()
        };
        let made_by = |maker: &Component, name: &str| {
            let value = json!({
                "metadata": {"name": name, "namespace": "n", "ownerReferences": [maker.controller_owner_ref(&())]},
                "spec": {"name": "app", "importContent": [], "containerRegistries": []},
                "status": {"publish": {"state": "Completed"}},
            });
            serde_json::from_value::<Build>(value).unwrap()
        };
        let (a, b) = (of("a", "a-1"), of("b", "b-1"));
        let (of_a, newer, of_b) = (made_by(&a, "a-1"), made_by(&a, "a-2"), made_by(&b, "b-1"));

        let chosen = |component, sibling| {
            let surroundings = Surroundings {
                component,
                workspace: None,
                siblings: vec![sibling],
                builds: vec![&of_a, &newer, &of_b],
            };
            surroundings.build("app").map(Build::name_any)
        };
        assert_eq!(chosen(&a, &b).as_deref(), Some("a-1"));
        assert_eq!(chosen(&b, &a).as_deref(), Some("b-1"));
    }

    #[test]
    fn inputs_change_with_the_build_that_stands_for_a_name() {
        let workspace = workspace(&spec("1", 80, "${build::app.commit}"));
        let component = component(&workspace);
        let build = |name: &str| {
            let value = json!({
                "metadata": {"name": name},
                "spec": {"name": "app", "importContent": [], "containerRegistries": []},
                "status": {"publish": {"state": "Completed"}},
            });
            serde_json::from_value::<Build>(value).unwrap()
        };
        let (one, two) = (build("app-1"), build("app-2"));
        let inputs = |builds| {
            let (component, workspace) = (&component, Some(&workspace));
            let siblings = Vec::new();
            Surroundings {
                component,
                workspace,
                siblings,
                builds,
            }
            .inputs()
        };

        assert_eq!(inputs(vec![&one]), inputs(vec![&one]));
        assert_ne!(inputs(vec![&one]), inputs(vec![&one, &two]));
    }
}
