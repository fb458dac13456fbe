//! What a step looks at, read afresh: no cache stands between a decision and the API server.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use sequencer_api::component::ComponentTemplate;
use sequencer_api::{Build, Component, Workspace, labels};

use crate::error::Error;
use crate::plan::{View, controller};

/// The Component with all that its plan needs; none if its Workspace is gone, and it is about to go too.
pub(crate) async fn view(client: &Client, component: Component) -> Result<Option<View>, Error> {
    let namespace = component.metadata.namespace.clone().unwrap_or_default();
    let Ok(workspace) = workspace(client, &namespace, &component).await? else { return Ok(None) };
    let template = &component.spec.template;
    let siblings = match &workspace {
        Some(workspace) if needs_siblings(template) => of_workspace(client, &namespace, workspace).await?,
        Some(_) => Vec::new(),
        None => on_their_own(client, &namespace).await?,
    };
    let own = component.metadata.uid.clone();
    let siblings = siblings.into_iter().filter(|sibling| sibling.metadata.uid != own).collect();
    let builds = if mentions(template, "${build::") {
        builds(client, &namespace, workspace.as_ref(), &component).await?
    } else {
        Vec::new()
    };
    Ok(Some(View { component, workspace, siblings, builds }))
}

/// The Workspace that controls a Component. The outer error: there is one, and it is gone.
async fn workspace(
    client: &Client,
    namespace: &str,
    component: &Component,
) -> Result<Result<Option<Workspace>, ()>, Error> {
    let owner = controller(component.metadata.owner_references.as_ref()).filter(|owner| owner.kind == "Workspace");
    let Some(owner) = owner else { return Ok(Ok(None)) };
    let api: Api<Workspace> = Api::namespaced(client.clone(), namespace);
    let found = sequencer_runtime::cluster::current(&api, &owner.name, &owner.uid).await?;
    Ok(found.map(Some).ok_or(()))
}

fn needs_siblings(template: &ComponentTemplate) -> bool {
    !template.depends_on.is_empty() || mentions(template, "${build::")
}

fn mentions(template: &ComponentTemplate, what: &str) -> bool {
    serde_json::to_string(&template.template).is_ok_and(|text| text.contains(what))
}

async fn of_workspace(client: &Client, namespace: &str, workspace: &Workspace) -> Result<Vec<Component>, Error> {
    let uid = workspace.metadata.uid.as_deref().unwrap_or_default();
    let api: Api<Component> = Api::namespaced(client.clone(), namespace);
    let all = api.list(&ListParams::default().labels(&format!("{}={uid}", labels::WORKSPACE_UID))).await?;
    let ours = |component: &Component| {
        controller(component.metadata.owner_references.as_ref()).is_some_and(|owner| owner.uid == uid)
    };
    Ok(all.items.into_iter().filter(ours).collect())
}

async fn on_their_own(client: &Client, namespace: &str) -> Result<Vec<Component>, Error> {
    let api: Api<Component> = Api::namespaced(client.clone(), namespace);
    let all = api.list(&ListParams::default().labels(&format!("!{}", labels::WORKSPACE))).await?;
    let free = |component: &Component| controller(component.metadata.owner_references.as_ref()).is_none();
    Ok(all.items.into_iter().filter(free).collect())
}

async fn builds(
    client: &Client,
    namespace: &str,
    workspace: Option<&Workspace>,
    component: &Component,
) -> Result<Vec<Build>, Error> {
    let api: Api<Build> = Api::namespaced(client.clone(), namespace);
    let uid = workspace.map_or(&component.metadata, |workspace| &workspace.metadata).uid.as_deref().unwrap_or_default();
    Ok(api.list(&ListParams::default().labels(&format!("{}={uid}", labels::WORKSPACE_UID))).await?.items)
}

/// The pods of a Component.
pub(crate) async fn pods(client: &Client, view: &View) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), view.namespace());
    Ok(api.list(&ListParams::default().labels(&of_component(view.name()))).await?.items)
}

/// The selector of what was made for a Component.
pub(crate) fn of_component(name: &str) -> String {
    format!("{}={},{}={name}", labels::MANAGED_BY, labels::SEQUENCER, labels::INSTANCE)
}
