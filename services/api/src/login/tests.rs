use proptest::prelude::*;
use serde_json::json;

use super::*;

fn keys(pairs: &[(&str, &str)]) -> Values {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec().into()))
        .collect()
}

fn login(username: &str, password: &str) -> Result<Login, LoginError> {
    Ok(Login {
        username: username.into(),
        password: password.into(),
    })
}

fn docker(auths: &serde_json::Value) -> Values {
    keys(&[(CONFIG, &json!({"auths": auths}).to_string())])
}

fn code(host: &str, scheme: AuthScheme, data: &Values) -> Option<Code> {
    registry(host, scheme, data).err().map(|error| error.code())
}

#[test]
fn the_keys_that_are_present_decide() {
    for pairs in [
        [("accessKey", "u"), ("secretToken", "p")],
        [("username", "u"), ("password", "p")],
        [("username", "u\n"), ("password", "p\r\n")],
    ] {
        assert_eq!(
            registry("registry.test", AuthScheme::KeyPair, &keys(&pairs)),
            login("u", "p")
        );
    }
}

#[test]
fn a_secret_as_kubectl_makes_it_fits_docker_hub_under_each_of_its_names() {
    for key in [
        "https://index.docker.io/v1/",
        "docker.io",
        "index.docker.io",
        "registry-1.docker.io",
        "https://registry-1.docker.io/v2/",
    ] {
        let data = docker(&json!({"other.test": {"auth": "eDp5"}, key: {"auth": "dTpwOnE="}}));
        assert_eq!(
            registry("docker.io", AuthScheme::KeyPair, &data),
            login("u", "p:q"),
            "{key}"
        );
    }

    let plain = docker(&json!({"registry.test:5000": {"username": "u", "password": "p"}}));
    assert_eq!(
        registry("registry.test:5000", AuthScheme::KeyPair, &plain),
        login("u", "p")
    );
    assert_eq!(
        code("registry.test", AuthScheme::KeyPair, &plain),
        Some(Code::SecretKeysInvalid)
    );
}

#[test]
fn a_login_for_a_part_of_a_registry_is_for_no_other_part() {
    let data = docker(&json!({"registry.test/team": {"auth": "dTpw"}}));
    assert_eq!(
        code("registry.test", AuthScheme::KeyPair, &data),
        Some(Code::SecretKeysInvalid)
    );
}

#[test]
fn a_token_goes_with_the_name_that_its_registry_prescribes() {
    for (host, user) in [
        ("europe-docker.pkg.dev", "oauth2accesstoken"),
        ("x.azurecr.io", "00000000-0000-0000-0000-000000000000"),
        ("ghcr.io", "token"),
        ("registry.test:5000", "token"),
    ] {
        assert_eq!(
            registry(host, AuthScheme::Token, &keys(&[("token", "t\n")])),
            login(user, "t"),
            "{host}"
        );
    }

    let named = keys(&[("token", "t"), ("username", "me")]);
    assert_eq!(
        registry("ghcr.io", AuthScheme::Token, &named),
        login("me", "t")
    );
}

#[test]
fn wrong_keys_are_e1006_and_empty_ones_e1013() {
    use AuthScheme::{KeyPair, Token};
    for (scheme, pairs, wanted) in [
        (KeyPair, &[][..], Code::SecretKeysInvalid),
        (KeyPair, &[("token", "t")], Code::SecretKeysInvalid),
        (
            KeyPair,
            &[("username", "u"), ("secretToken", "p")],
            Code::SecretKeysInvalid,
        ),
        (KeyPair, &[(CONFIG, "{")], Code::SecretKeysInvalid),
        (
            KeyPair,
            &[(CONFIG, r#"{"auths":{"registry.test":{"auth":"%"}}}"#)],
            Code::SecretKeysInvalid,
        ),
        (KeyPair, &[(CONFIG, "\n")], Code::SecretEmpty),
        (
            KeyPair,
            &[(CONFIG, r#"{"auths":{"registry.test":{}}}"#)],
            Code::SecretEmpty,
        ),
        (
            KeyPair,
            &[("username", "u"), ("password", "\n")],
            Code::SecretEmpty,
        ),
        (
            Token,
            &[("accessKey", "u"), ("secretToken", "p")],
            Code::SecretKeysInvalid,
        ),
        (Token, &[("token", "")], Code::SecretEmpty),
        (
            Token,
            &[("token", "t"), ("username", "\n")],
            Code::SecretEmpty,
        ),
    ] {
        assert_eq!(
            code("registry.test", scheme, &keys(pairs)),
            Some(wanted),
            "{pairs:?}"
        );
    }
    let binary = BTreeMap::from([("token".to_owned(), vec![0xff].into())]);
    assert_eq!(
        code("registry.test", Token, &binary),
        Some(Code::SecretKeysInvalid)
    );
}

#[test]
fn schemes_of_clouds_are_refused_by_name() {
    for scheme in [AuthScheme::Aws, AuthScheme::Google, AuthScheme::Azure] {
        assert_eq!(
            code("registry.test", scheme, &keys(&[])),
            Some(Code::RegistryFeatureUnsupported)
        );
    }
}

proptest! {
    #[test]
    fn no_text_carries_a_value(
        marker in "SEQCANARY[A-Za-z0-9]{12}", key in "token|username|password|accessKey|secretToken|\\.dockerconfigjson",
        form in 0..4_usize,
    ) {
        let value = [
            marker.clone(),
            format!("{{\"auths\": \"{marker}\"}}"),
            format!("{{\"auths\": {{\"registry.test\": {{\"auth\": \"{marker}\"}}}}}}"),
            format!("{{\"auths\": {{\"registry.test\": {{\"username\": \"u\", \"password\": \"{marker}\"}}}}}}"),
        ][form].clone();
        let data = keys(&[("username", &marker), (&key, &value)]);

        for scheme in [AuthScheme::KeyPair, AuthScheme::Token] {
            let result = registry("registry.test", scheme, &data);
            let shown = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let texts = format!("{result:?} {shown}");
            prop_assert!(!texts.contains(&marker));
        }
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let data = BTreeMap::from([(CONFIG.to_owned(), bytes.into())]);
        prop_assert!(registry("registry.test", AuthScheme::KeyPair, &data).is_err());
    }
}
