//! Reading Secrets on a real API server, with rights and without.

use anyhow::Result;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Config};
use lab::alone::Alone;
use lab::testing::layout;
use sequencer_api::code::Code;
use sequencer_api::secret::SecretRef;
use sequencer_runtime::cluster;
use sequencer_runtime::cluster::secret::Secrets;
use serde_json::json;

fn reference(namespace: Option<&str>, name: &str) -> SecretRef {
    SecretRef {
        name: name.into(),
        namespace: namespace.map(Into::into),
    }
}

#[tokio::test]
async fn a_secret_of_another_namespace_takes_consent_and_grant_and_nobody_learns_what_exists()
-> Result<()> {
    let mut alone = Alone::new(&layout()?)?;
    let kubeconfig = Kubeconfig::read_from(alone.control_plane()?)?;
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = cluster::client(config.clone(), "tester")?;
    for namespace in ["team", "other"] {
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await?;
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), "other");
    for (name, annotations) in [
        ("kept", json!({})),
        (
            "shared",
            json!({"se.quencer.io/shared-with": "someone, team"}),
        ),
    ] {
        let object = json!({"metadata": {"name": name, "annotations": annotations}, "stringData": {"token": "t\n"}});
        api.create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
    }

    let secrets = Secrets::new(client);
    let shared = secrets
        .read("team", &reference(Some("other"), "shared"))
        .await?;
    assert_eq!(
        (shared.source(), shared.keys()),
        ("other/shared", vec!["token"])
    );
    let kept = secrets
        .read("team", &reference(Some("other"), "kept"))
        .await
        .unwrap_err();
    let absent = secrets
        .read("team", &reference(Some("other"), "absent"))
        .await
        .unwrap_err();
    assert_eq!(
        (kept.code(), absent.code()),
        (Code::SecretNotShared, Code::SecretNotShared)
    );
    assert_eq!(
        kept.to_string(),
        absent.to_string().replace("absent", "kept")
    );
    assert!(
        secrets
            .read("other", &reference(None, "kept"))
            .await
            .is_ok()
    );
    assert_eq!(
        secrets
            .read("team", &reference(None, "kept"))
            .await
            .unwrap_err()
            .code(),
        Code::SecretNotFound
    );

    // Without rights: its own namespace is no tenant; another one's answer is the same as before.
    let mut nobody = config;
    nobody.auth_info.impersonate = Some("nobody".into());
    let secrets = Secrets::new(cluster::client(nobody, "tester")?);
    assert_eq!(
        secrets
            .read("team", &reference(None, "kept"))
            .await
            .unwrap_err()
            .code(),
        Code::NamespaceNotTenant
    );
    let ungranted = secrets
        .read("team", &reference(Some("other"), "shared"))
        .await
        .unwrap_err();
    assert_eq!(
        ungranted.to_string(),
        kept.to_string().replace("kept", "shared")
    );
    Ok(())
}
