//! The catalogue of codes: the one list that numbers, reasons, meanings, remedies and causes come
//! from. A number is never given to another code, and never taken away: statuses that were written
//! with it are read again.

use super::Cause;

macro_rules! catalogue {
    ($($number:literal $name:ident ($cause:ident) $meaning:literal, $remedy:literal;)+) => {
        /// What went wrong. It is shown as `E#nnnn`, and the variant's name is its reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Code {
            $(#[doc = $meaning] $name = $number,)+
        }

        impl Code {
            /// Every code, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns the number behind `E#`.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)+ }
            }

            /// Returns the `reason` of conditions and Events that show this code.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Returns what it means, as a heading.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// Returns what to do about it, as a sentence.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }

            /// Returns who can do something about it.
            #[must_use]
            pub const fn cause(self) -> Cause {
                match self { $(Self::$name => Cause::$cause,)+ }
            }
        }
    };
}

catalogue! {
    1001 ConfigMapNotFound (User)
        "A ConfigMap that is needed, or its key, is not there",
        "Create the ConfigMap, or correct its name or key.";
    1002 ValuesFromAmbiguous (User)
        "`valuesFrom` names both a ConfigMap and a Secret, or neither",
        "Keep one of `configMapRef` and `secretRef`.";
    1003 ImportWithoutSource (User)
        "An import names no source",
        "Add `contentFrom.git` with a `url`.";
    1005 BuildImmutable (User)
        "A Build was changed",
        "Change the Component: it makes a new Build.";
    1006 SecretKeysInvalid (User)
        "A Secret's keys are not those of a login",
        "Give the Secret the keys that its `authScheme` needs.";
    1007 SecretNotFound (User)
        "A Secret that is needed is not named, or not there",
        "Create the Secret, or correct `secretRef.name`.";
    1008 DockerfileNotFound (User)
        "The Dockerfile or the context is not in the source",
        "Correct `dockerfile` and `context`, or push the file.";
    1009 BuilderUnavailable (Ours)
        "The builder itself cannot work: git, its disk or what BuildKit needs",
        "Wait; it is tried again by itself.";
    1011 StepFailed (User)
        "A step of a build failed",
        "Correct the Dockerfile or the source and push.";
    1012 CommitNotFound (User)
        "There is no such branch, tag or commit",
        "Push it, or correct `ref` or `commit`.";
    1013 SecretEmpty (User)
        "A Secret's value is empty",
        "Put the value into the Secret.";
    1014 FieldUnsupported (User)
        "Something that this version does not support",
        "Leave out the field that the message names.";
    1015 SourceTooLarge (User)
        "A source that is too big",
        "Remove what need not be in the repository, or split it.";
    1016 GitOperationFailed (World)
        "The git server refused, or did not answer",
        "Check the Secret and its rights at the git server.";
    1017 HostKeyUnknown (User)
        "A git server's host key is not the known one",
        "Compare the key with the one that the server's operator publishes, and put it into `known_hosts` of the Secret.";
    1018 BuildTimedOut (User)
        "A build took longer than its timeout, or the timeout is out of range",
        "Make the build faster, or set `runtime.timeout` to a longer duration.";
    1019 BuildResourcesExhausted (User)
        "A build ran out of memory or disk",
        "Let the step use less, or name a larger pool in `runtime.pool`.";
    1020 CredentialsRefused (User)
        "A registry refuses the login",
        "Correct the Secret that `credentials` names, or give its account the right to push.";
    1021 RepositoryNotFound (User)
        "A registry has no such repository",
        "Create the repository, or correct `url`.";
    1022 RegistryFeatureUnsupported (User)
        "Something about a registry that this version cannot do",
        "Use what this version supports, as the message says.";
    1023 BuildKitLost (Ours)
        "BuildKit was lost while it built",
        "Wait; it is tried again by itself.";
    2005 CrashLoop (User)
        "A container ends again and again, or a Job failed",
        "Read the last lines of its log, and correct the program, its command or its variables.";
    2006 VariableUnterminated (User)
        "A variable that does not end",
        "Close the variable with `}`, or write `$${` for a literal `${`.";
    2009 VariableNameUnknown (User)
        "A variable that names something that does not exist",
        "Correct the name; the message lists those that there are. Write `$${` for a literal `${`.";
    2012 VariableMalformed (User)
        "A variable with too few or too many parts",
        "Write the variable in the form that the message shows, or `$${` for a literal `${`.";
    2013 VariableSectionUnknown (User)
        "A variable of a component's part that has no variables",
        "Write `${components::NAME.networks.NETWORK}` or `${components::NAME.networks.NETWORK.port}`.";
    2016 GeneratedVariableEmbedded (User)
        "A generated variable inside a longer text",
        "Give it an environment variable of its own, and use Kubernetes' `$(NAME)` in the longer one.";
    2017 ComponentNameConflict (User)
        "Two Components of one name in a namespace",
        "Rename one of them, or put them into Workspaces.";
    2020 ImagePullFailed (User)
        "An image cannot be pulled",
        "Correct the image, or name a pull Secret in `template.imagePullSecrets`.";
    2021 Unschedulable (World)
        "No node has a place for a pod",
        "Ask for less, correct the selectors, or add a node.";
    2022 QuotaExceeded (World)
        "A quota of the namespace is used up",
        "Delete what is not needed, or raise the quota.";
    2023 AdmissionDenied (User)
        "The API server refuses an object",
        "Correct the template, or ask an administrator for the policy.";
    2024 InitContainerFailed (User)
        "An init container failed",
        "Read the last lines of its log, and correct the init container.";
    2025 ProgressDeadlineExceeded (User)
        "A roll-out made no progress for too long",
        "See why the pods are not ready (a readiness probe, most of the time), or raise `progressDeadlineSeconds`.";
    3004 SecretKeyNotFound (User)
        "A Secret does not have the key that is named",
        "Add the key to the Secret, or correct `secretKeyRef.key`.";
    3007 DnsProviderRefused (Ours)
        "The DNS provider refuses",
        "Put a credential that may edit the zone's records into the provider's Secret.";
    3010 TunnelProviderRefused (User)
        "The tunnel provider refuses",
        "Put a token with the right Account > Cloudflare Tunnel > Edit into the Secret, or correct `accountId`.";
    3012 TunnelProviderMissing (User)
        "A tunnel names no provider",
        "Add `tunnel.cloudflare`.";
    3013 LoadBalancerNotFound (User)
        "The Service that DNS should point to is not there",
        "Correct `loadBalancerRef`, or leave it out: then the Ingress's own address is used.";
    3014 GatewayUnsupported (User)
        "Gateways are not served yet",
        "Use `className`.";
    3020 HostTaken (User)
        "A host that is taken",
        "Choose another `networking.dns.name`, or delete the record at the provider if it is yours.";
    3021 ExternalDeletionPending (World)
        "Something outside the cluster is not deleted yet",
        "Wait, or correct what the message names.";
    3022 ConnectorNotConnected (World)
        "The tunnel's connector has no connection",
        "Look at the connector's pods: `kubectl -n sequencer-tunnels describe pod`.";
    3023 UrlNotAnswering (World)
        "The URL does not answer",
        "Look at the component behind the route.";
    4001 ProviderUnavailable (World)
        "A provider is out of reach",
        "Wait; it is tried again by itself.";
    4002 RecordNotResolved (World)
        "The name servers do not answer with the record yet",
        "Wait; the record is looked up again by itself.";
    4010 RegistryUnavailable (World)
        "A registry does not answer",
        "Wait; it is tried again by itself. A host that is not found may be mistyped.";
    4011 PushRejected (World)
        "A registry does not take what it is sent",
        "Look at the registry's own settings and log.";
    5001 ApiServerUnavailable (Ours)
        "The API server did not answer, or refused",
        "Wait; it is tried again by itself.";
    5011 ObjectNotOwned (User)
        "An object of this name that somebody else made",
        "Delete or rename the object that the message names.";
    5012 ObjectUnreadable (Ours)
        "An object that this version of Sequencer cannot read",
        "Correct the field that the message names, or bring Sequencer's definitions and services to one version.";
    5020 StagingUnavailable (Ours)
        "The staging registry does not answer, or refuses",
        "Wait; it is tried again by itself.";
    5021 StagedImageUnusable (Ours)
        "A staged image is not there, is damaged, or cannot be copied",
        "Build it again: change the Component, or delete the Build.";
    6005 NetworkNameDuplicate (User)
        "Two networks of one name",
        "Rename one of them.";
    6007 TargetPortUnknown (User)
        "A target port that no container has",
        "Name a port of a container, or give the number.";
    6009 DependsOnItself (User)
        "A component waits for itself",
        "Remove the entry, or name the component that was meant.";
    6010 DependencyCycle (User)
        "Components that wait for each other in a circle",
        "Remove one of the `dependsOn` in the circle.";
    6011 DependencyUnknown (User)
        "A component waits for one that does not exist",
        "Correct `dependsOn[].componentName`.";
    6012 ConditionUnknown (User)
        "A condition that no component can have",
        "Use `True`, `False`, `Unknown`, or a reason.";
    6015 ImageMalformed (User)
        "Something that names no image",
        "Write `[host[:port]/]path[:tag]` in lower case, without blanks.";
    6016 RenderedTooLarge (User)
        "Values that make more text than a Component may have",
        "Use the variable less often, or let the program put the text together.";
    6019 DeploymentFieldOnJob (User)
        "A Job with a field that only a Deployment has",
        "Leave out `replicas`, `strategy` and `progressDeadlineSeconds`; `template.activeDeadlineSeconds` ends pods that take too long.";
    6020 HostAccessForbidden (User)
        "A template asks for the node's namespaces or ports, or has it ask other hosts",
        "Leave them out; a network of the component makes a port reachable.";
    6021 VolumeForbidden (User)
        "A template asks for a volume that is not allowed",
        "Use an allowed kind of volume, `volumeClaimTemplates`, or ask the operator to share the claim.";
    6022 PrivilegeForbidden (User)
        "A template asks for more privilege than is allowed",
        "Leave it out, or ask the operator.";
    6023 ServiceAccountForbidden (User)
        "A template asks for a service account",
        "Leave out `serviceAccountName` and `automountServiceAccountToken`.";
    6024 PlacementForbidden (User)
        "A template asks for a node, a runtime or a priority of the system's",
        "Leave them out; `nodeSelector` and `affinity` are allowed.";
    6025 SecretForbidden (User)
        "A Secret that whoever applies the object may not read, or more than 16 of them",
        "Use Secrets that you may read, and at most 16 of them.";
    6026 SecretNotShared (User)
        "A Secret of another namespace that may not be used",
        "Annotate the Secret with `se.quencer.io/shared-with`, and ask the operator for the grant.";
    6027 SecretForOtherHost (User)
        "A Secret that is bound to another host",
        "Use the Secret of this host, or add the host to its annotation `se.quencer.io/host`.";
    6028 ClaimDiffers (User)
        "A claim that is not as its template says",
        "Undo the change, or give the claim another name: a new one is made, and the old one stays until the Component goes.";
    6029 BuildNameConflict (User)
        "Two builds of one name that differ",
        "Rename one of them, with the `${build::NAME}` that means it, or make them equal.";
    6030 PathOutsideSource (User)
        "A path that leaves the source tree",
        "Write the path relative to the repository's root.";
    6031 DockerfileOutsideSource (User)
        "A Dockerfile that leaves the source tree",
        "Put the file itself into the repository.";
    6032 ImportsOverlap (User)
        "Two imports into one folder",
        "Give each import a `path` of its own; none may be inside another.";
    6033 GitSchemeUnsupported (User)
        "A git URL of another scheme",
        "Use `https://host/path`, `ssh://user@host/path` or `user@host:path`.";
    6034 GitUrlUnsafe (User)
        "A git URL with a part that a program would take for an option",
        "Correct the URL.";
    6035 GitRefInvalid (User)
        "Something that is no ref",
        "Correct `ref`; a commit has 40 or 64 hex digits.";
    6036 LoginInUrl (User)
        "A login in a URL",
        "Take the login out of the URL, change it at the server, and put the new one into a Secret that `credentials.secretRef` names.";
    6037 AddressForbidden (User)
        "An address that is not allowed",
        "Use a public host, or ask the operator to add the range to the chart's `egress.allowedCIDRs`.";
    6038 UrlMalformed (User)
        "A malformed URL",
        "Correct the URL; write a host of another script in its ASCII form (`xn--...`).";
    6040 RepositoryMalformed (User)
        "Something that is no repository",
        "Write the tag into `tags` and the login into `credentials`.";
    6043 BuildArgumentForbidden (User)
        "A build argument that is reserved or secret",
        "Rename the argument, or mount a secret with `spec.secrets` and `RUN --mount=type=secret`.";
    6045 ServiceForbidden (User)
        "A Service of another namespace that whoever applies the Workspace may not read",
        "Name a Service that you may read, or leave `loadBalancerRef` out.";
    6046 AbandonForbidden (User)
        "Only an administrator may give up what a Workspace has outside the cluster",
        "Ask an administrator, or correct what holds the deletion up: `status.teardown` names it.";
    6047 VolumeUnknown (User)
        "A mount of a volume that its template does not have",
        "Correct the mount's name, or add the volume or the `volumeClaimTemplates` entry.";
    6048 StatusForbidden (User)
        "A status that somebody else than Sequencer writes",
        "Change the spec: the status follows from it.";
    6051 ZoneNotGranted (User)
        "No DNS provider serves the zone for this namespace",
        "Use a zone that is granted to you, or ask the operator to add it, or your namespace, to a provider of `dns.providers`.";
    6052 HostTooLong (User)
        "A host that is too long",
        "Shorten the name.";
    6053 TunnelOrIngressAmbiguous (User)
        "Both a tunnel and an ingress, or neither",
        "Keep one of `tunnel` and `ingress`, or remove `networking`.";
    6054 RouteTargetUnknown (User)
        "A route to a component or network that does not exist",
        "Correct the names of the route's component and network.";
    6061 WorkspaceNameInvalid (User)
        "A Workspace's name that is no DNS label",
        "Use at most 63 lower-case letters, digits and hyphens, a letter first.";
    6062 RecordNameMismatch (User)
        "A DNSRecord whose name is not its record's, or whose identity was changed",
        "Rename the object, or make another record; only `target`, `ttl` and `properties` may change.";
    6063 WorkspaceQuotaExceeded (User)
        "More Workspaces than a namespace may have",
        "Delete one that is not needed any more, or ask the operator for more.";
    6064 TtlOutOfRange (User)
        "A time to live out of range",
        "Set `ttl` to a duration from `1m` to what the message names.";
    6065 AnnotationForbidden (User)
        "An annotation of an Ingress that is not allowed",
        "Leave it out, or ask the operator to allow it.";
    6066 PoolNotOpen (User)
        "No pool of builders, or not open to this namespace",
        "Name a pool that is open to your namespace, or ask whoever installed Sequencer.";
    6067 IntervalOutOfRange (User)
        "A poll interval out of range",
        "Set `updatePolicy.interval` from `5s` to `24h`.";
    6068 KeyReserved (User)
        "Labels or annotations that are the operator's own",
        "Use another prefix.";
    6069 VariableValueAmbiguous (User)
        "A variable with both a value and generate, or neither",
        "Keep one of `value` and `generate`.";
    6070 ClassOrGatewayAmbiguous (User)
        "An ingress with both a class and a Gateway",
        "Keep one of `className` and `gatewayRef`.";
    6071 CertificateAmbiguous (User)
        "An ingress with two sources of its certificate",
        "Keep one of `secretName` and `issuerRef`; without either the controller's own certificate serves.";
    6072 RecordTargetInvalid (User)
        "A DNSRecord whose target does not fit its type",
        "Correct `target` or `recordType`.";
    6073 NamespaceNotTenant (Ours)
        "A namespace whose Secrets may not be read",
        "Ask the operator to add the namespace to the chart's `tenants.namespaces`.";
    6074 KeepUntilMalformed (User)
        "An annotation `se.quencer.io/keep-until` that is no time",
        "Write a time such as `2030-12-24T18:00:00Z`. Until then the Workspace is kept as long as the operator allows.";
    6101 WorkInterrupted (Ours)
        "Work that ended without a record again and again",
        "Look at the restarts and logs of the service that is at work there.";
}
