//! What a reconcile decides by, read afresh: no cache stands between a decision and the API server.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Event, Pod, PodSpec};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::component::ComponentTemplate;
use sequencer_api::dependencies::is_outdated;
use sequencer_api::owner::{controller, is_controlled_by, is_let_go};
use sequencer_api::stored::Stored as _;
use sequencer_api::{Build, Component, Workspace, labels};
use sequencer_runtime::cluster::current;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::plan::View;

/// How many objects are read at once. Each may be as large as etcd takes, and a tenant may have
/// many.
pub(crate) const PAGE: u32 = 16;

/// The Component with all that its plan needs; none if its Workspace is gone, and it is about to go
/// too, or if somebody took its owner away, which it is about to get back.
pub(crate) async fn view(client: &Client, component: Component) -> Result<Option<View>, Error> {
    let namespace = component.namespace_str().to_owned();
    let Ok(workspace) = workspace(client, &namespace, &component).await? else {
        return Ok(None);
    };

    let template = &component.spec.template;
    let siblings = match &workspace {
        Some(workspace) if needs_siblings(template) => {
            of_workspace(client, &namespace, workspace).await?
        }
        Some(_) => Vec::new(),
        None => on_their_own(client, &namespace).await?,
    };

    let own = component.metadata.uid.clone();
    let siblings: Vec<_> = siblings
        .into_iter()
        .filter(|sibling| sibling.metadata.uid != own)
        .collect();
    let builds = if mentions(template, "${build::") || follows_builds(template, &siblings) {
        let makers = siblings
            .iter()
            .filter(|_sibling| workspace.is_some())
            .chain([&component]);
        builds(
            client,
            &namespace,
            workspace.as_ref(),
            &component,
            &makers.collect::<Vec<_>>(),
        )
        .await?
    } else {
        Vec::new()
    };

    Ok(Some(View {
        component,
        workspace,
        siblings,
        builds,
    }))
}

/// The Workspace that controls a Component. The inner error: it is gone, or does not control it for
/// now.
async fn workspace(
    client: &Client,
    namespace: &str,
    component: &Component,
) -> Result<Result<Option<Workspace>, ()>, Error> {
    let api: Api<Workspace> = Api::namespaced(client.clone(), namespace);
    if let Some(owner) = controller::<Workspace>(component) {
        let found = current(&api, &owner.name, &owner.uid).await?;
        return Ok(found.map(Some).ok_or(()));
    }

    let label = |name: &str| component.labels().get(name);
    let Some((name, uid)) = label(labels::WORKSPACE).zip(label(labels::WORKSPACE_UID)) else {
        return Ok(Ok(None));
    };
    let named = current(&api, name, uid).await?;
    let is_let_go = named.is_some_and(|workspace| is_let_go(component, &workspace));
    Ok(if is_let_go { Err(()) } else { Ok(None) })
}

fn needs_siblings(template: &ComponentTemplate) -> bool {
    !template.depends_on.is_empty() || mentions(template, "${build::")
}

fn mentions(template: &ComponentTemplate, what: &str) -> bool {
    serde_json::to_string(&template.template).is_ok_and(|text| text.contains(what))
}

async fn of_workspace(
    client: &Client,
    namespace: &str,
    workspace: &Workspace,
) -> Result<Vec<Component>, Error> {
    let uid = workspace.uid_str();
    let api: Api<Component> = Api::namespaced(client.clone(), namespace);
    let ours = |component: Component| {
        is_controlled_by(&component, workspace).then(|| lean(up_to_date(component, workspace)))
    };
    list(&api, &format!("{}={uid}", labels::WORKSPACE_UID), ours).await
}

async fn on_their_own(client: &Client, namespace: &str) -> Result<Vec<Component>, Error> {
    let api: Api<Component> = Api::namespaced(client.clone(), namespace);
    // Labels are anybody's to write: they do not say who is on its own.
    let free = |component: Component| {
        controller::<Workspace>(&component)
            .is_none()
            .then(|| lean(component))
    };

    list(&api, "", free).await
}

/// Whether one that a template depends on runs an image of a Build.
fn follows_builds(template: &ComponentTemplate, siblings: &[Component]) -> bool {
    let mut followed = siblings.iter().filter(|sibling| {
        let name = &sibling.spec.template.name;
        let mut on = template.depends_on.iter();
        on.any(|dependency| dependency.component_name == *name)
    });
    followed.any(|sibling| {
        let status = sibling.status.as_ref();
        status.is_some_and(|status| status.deploy.build.is_some())
    })
}

/// A Component without its status, if that does not count any more.
fn up_to_date(mut component: Component, workspace: &Workspace) -> Component {
    if is_outdated(&component, workspace) {
        component.status = None;
    }
    component
}

/// A sibling without its pods, which are most of it: they are nobody's business but its own.
fn lean(mut component: Component) -> Component {
    component.metadata.managed_fields = None;
    let template = &mut component.spec.template;
    template.template = PodSpec::default();
    template.volume_claim_templates = Vec::new();
    component
}

/// The objects with these labels, page by page. Of each page only what `keep` makes of it stays.
async fn list<K>(api: &Api<K>, labels: &str, keep: impl Fn(K) -> Option<K>) -> Result<Vec<K>, Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut params = ListParams::default().labels(labels).limit(PAGE);
    let mut kept = Vec::new();
    loop {
        let page = api.list(&params).await?;
        kept.extend(page.items.into_iter().filter_map(&keep));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(kept),
        }
    }
}

/// What these Components build.
async fn builds(
    client: &Client,
    namespace: &str,
    workspace: Option<&Workspace>,
    component: &Component,
    makers: &[&Component],
) -> Result<Vec<Build>, Error> {
    let api: Api<Build> = Api::namespaced(client.clone(), namespace);
    let owner = workspace.map_or(&component.metadata, |workspace| &workspace.metadata);
    let uid = owner.uid.as_deref().ok_or(Error::Unstored)?;
    let theirs = |build: Build| {
        makers
            .iter()
            .any(|maker| is_controlled_by(&build, *maker))
            .then_some(build)
    };

    list(&api, &format!("{}={uid}", labels::WORKSPACE_UID), theirs).await
}

/// The pods of a Component.
pub(crate) async fn pods(client: &Client, view: &View) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), view.namespace());
    Ok(api
        .list(&ListParams::default().labels(&of_component(view.name())))
        .await?
        .items)
}

/// The Events of a pod that have this reason.
pub(crate) async fn events(
    client: &Client,
    view: &View,
    pod: &Pod,
    reason: &str,
) -> Result<Vec<Event>, Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), view.namespace());
    let about = format!("involvedObject.uid={},reason={reason}", pod.uid_str());
    Ok(api.list(&ListParams::default().fields(&about)).await?.items)
}

/// The selector of what was made for a Component.
pub(crate) fn of_component(name: &str) -> String {
    format!(
        "{}={},{}={name}",
        labels::MANAGED_BY,
        labels::SEQUENCER,
        labels::INSTANCE
    )
}
