//! What a Component becomes: pure, from what was read.

mod claims;
pub mod ingress;
mod labels;
mod object;
mod pod;
mod policy;
mod pull;
mod refusal;
mod refuse;
mod revision;
mod rolling;
mod service;
mod strategy;
mod used;
mod values;
mod volumes;

use k8s_openapi::api::core::v1::Container;
use kube::Resource;
use sequencer_api::code::Code;
use sequencer_api::component::ComponentTemplate;
use sequencer_api::condition::ConditionType;
use sequencer_api::inputs::Surroundings;
use sequencer_api::labels::asked;
use sequencer_api::names::{self, Owner};
use sequencer_api::status::component::{DeployedImage, DeployedService, WaitingFor};
use sequencer_api::status::workspace::WorkspaceStatus;
use sequencer_api::stored::Stored;
use sequencer_api::{Build, Component, Workspace};
use uuid::Uuid;

use crate::args::Settings;
use crate::error::Error;
use sequencer_api::host::Refusal;

use pod::Pods;

pub(crate) use labels::{controller, owner_reference, pull_metadata, variables_metadata};
pub use object::is_deployment;
pub(crate) use policy::{Earlier, policies};
pub(crate) use pull::{Wanted as WantedLogin, wanted as wanted_logins};
pub(crate) use rolling::{Serving, service as service_beside, targets};
pub use sequencer_runtime::apply::Object;
pub(crate) use service::PORT;
pub use used::{Used, UsedBuild};

/// What a Component's plan is made from.
#[derive(Clone, Debug)]
pub struct View {
    pub component: Component,
    /// Its Workspace; none if it was applied on its own.
    pub workspace: Option<Workspace>,
    /// The Components beside it, without itself.
    pub siblings: Vec<Component>,
    /// The Builds of its Workspace.
    pub builds: Vec<Build>,
}

impl View {
    pub(crate) fn name(&self) -> &str {
        Owner::of(&self.component).name
    }

    pub(crate) fn uid(&self) -> &str {
        Owner::of(&self.component).uid
    }

    /// What people ask to be tried again, on the Component or its Workspace.
    pub(crate) fn asked(&self) -> Option<String> {
        let workspace = self.workspace.as_ref().map(Resource::meta);
        asked([self.component.meta()].into_iter().chain(workspace))
    }

    /// Where everything is made.
    pub(crate) fn namespace(&self) -> &str {
        self.component.namespace_str()
    }

    /// The Workspace by whose name and uid everything is called; a Component of its own is its own.
    pub(crate) fn owner(&self) -> Owner<'_> {
        self.workspace
            .as_ref()
            .map_or_else(|| Owner::of(&self.component), Owner::of)
    }

    /// The uid whose trace the work belongs to.
    pub(crate) fn trace(&self) -> Uuid {
        let workspace = self.workspace.as_ref();
        workspace.map_or_else(|| self.component.uuid(), Stored::uuid)
    }

    pub(crate) fn template(&self) -> &ComponentTemplate {
        &self.component.spec.template
    }

    /// What was recorded of the Workspace.
    pub(crate) fn workspace_status(&self) -> Option<&WorkspaceStatus> {
        self.workspace
            .as_ref()
            .and_then(|workspace| workspace.status.as_ref())
    }

    /// Whether there is an Ingress still that a tunnel takes the place of.
    pub(crate) fn leaves_ingress(&self) -> bool {
        let status = self.workspace_status();
        let stands = status.is_some_and(|status| status.ingress.name.is_some());
        let tunnel = self.workspace.as_ref().and_then(Workspace::tunnel);
        stands && tunnel.is_some()
    }

    /// Every component of the Workspace, as its spec lists it; without one, the Components beside
    /// each other.
    pub(crate) fn templates(&self) -> Vec<&ComponentTemplate> {
        match &self.workspace {
            Some(workspace) => workspace.spec.components.iter().collect(),
            None => [&self.component]
                .into_iter()
                .chain(&self.siblings)
                .map(|each| &each.spec.template)
                .collect(),
        }
    }

    /// Returns true if a sibling depends on its Services or its variables, which are there before it
    /// runs.
    pub(crate) fn is_depended_on_early(&self) -> bool {
        let on = self
            .templates()
            .into_iter()
            .flat_map(|template| &template.depends_on);
        let mut on = on.filter(|dependency| dependency.component_name == self.template().name);
        on.any(|dependency| {
            matches!(
                dependency.condition_type,
                ConditionType::Network | ConditionType::Variables
            )
        })
    }

    /// A Component by its name in variables.
    pub(crate) fn find(&self, name: &str) -> Option<&Component> {
        [&self.component]
            .into_iter()
            .chain(&self.siblings)
            .find(|each| each.spec.template.name == name)
    }

    /// What its template may take something from.
    pub(crate) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            component: &self.component,
            workspace: self.workspace.as_ref(),
            siblings: self.siblings.iter().collect(),
            builds: self.builds.iter().collect(),
        }
    }

    /// A Build by its own name.
    pub(crate) fn build(&self, name: &str) -> Option<&Build> {
        let mut builds = self.builds.iter();
        builds.find(|build| build.metadata.name.as_deref() == Some(name))
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    /// The Services of its networks.
    pub services: Vec<Object>,
    /// Its NetworkPolicies, and its Workspace's.
    pub policies: Vec<Object>,
    /// What has to go if it is there, although it is not the Component's own.
    pub unwanted: Option<Object>,
    /// The Services as the status lists them.
    pub deployed: Vec<DeployedService>,
    /// What runs; or what still has to have a value.
    pub workload: Result<Workload, Vec<WaitingFor>>,
}

impl Plan {
    /// By what it is known: another one plans other objects.
    pub(crate) fn fingerprint(&self) -> String {
        let workload = self.workload.as_ref().map(|workload| &workload.object).ok();
        let planned = self.services.iter().chain(&self.policies);
        let planned = planned.chain(&self.unwanted).chain(workload);
        let each = planned.map(|object| {
            let revision = object.revision().unwrap_or_default();
            format!("{} {} {revision}", object.resource.kind, object.name())
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Clone, Debug)]
pub struct Workload {
    /// The Deployment or Job.
    pub object: Object,
    pub claims: Vec<Object>,
    /// The hash of what its user wrote, with values in place of variables.
    pub revision: String,
    /// The hash of the whole pod template, but for the labels that name a Build.
    pub template: String,
    /// The images of its containers.
    pub images: Vec<DeployedImage>,
    /// What its variables took.
    pub used: Used,
}

/// Whether a template ends: then it becomes a Job.
pub(crate) fn is_job(template: &ComponentTemplate) -> bool {
    matches!(
        template.template.restart_policy.as_deref(),
        Some("OnFailure" | "Never")
    )
}

/// Plans a Component.
///
/// # Errors
/// It asks for something that cannot be.
pub fn plan(view: &View, settings: &Settings) -> Result<Plan, Error> {
    unique(view)?;
    refuse::check(view, settings)?;
    let services = service::services(view, settings)?;

    let workload = match pod::render(view, settings)? {
        Err(missing) => Err(missing),
        Ok(pods) => Ok(workload(view, settings, pods)?),
    };

    Ok(Plan {
        services,
        policies: policies(view, settings, &Earlier::new())?,
        unwanted: policy::unwanted(view, settings)?,
        deployed: service::deployed(view),
        workload,
    })
}

fn workload(view: &View, settings: &Settings, pods: Pods) -> Result<Workload, Error> {
    let Pods {
        template,
        revision,
        used,
    } = pods;

    let spec = template.spec.as_ref();
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let image = |container: &Container| {
        Some(DeployedImage {
            container: container.name.clone(),
            image: container.image.clone()?,
        })
    };

    let images = containers.filter_map(image).collect();
    let claims = claims::claims(view, settings)?;
    let object = strategy::workload(view, settings, template, &used)?;

    Ok(Workload {
        object,
        claims,
        revision: revision.written,
        template: revision.whole,
        images,
        used,
    })
}

/// Without a Workspace, Components find each other by the names in their specs.
fn unique(view: &View) -> Result<(), Refusal> {
    let name = &view.template().name;
    let twin = view
        .siblings
        .iter()
        .find(|sibling| view.workspace.is_none() && sibling.spec.template.name == *name);
    match twin.and_then(|twin| twin.metadata.name.as_deref()) {
        None => Ok(()),
        Some(twin) => Err(Refusal::new(
            Code::ComponentNameConflict,
            format!(
                "spec.name: the Component {twin} of this namespace is named {name} too; rename one"
            ),
        )),
    }
}

/// A component's Service for a network.
pub(crate) fn service_name(view: &View, component: &str, network: &str) -> String {
    // Without a Workspace each Component is its own.
    let own = view
        .find(component)
        .filter(|_found| view.workspace.is_none());
    let owner = own.map_or_else(|| view.owner(), Owner::of);
    owner.service(component, network)
}

/// The pull Secret of a Component.
pub(super) fn pull_secret(view: &View) -> String {
    names::pull_secret(view.name())
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
