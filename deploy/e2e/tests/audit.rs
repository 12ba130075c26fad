//! A real API server's audit webhook → `k8s_audit`.

use serde_json::json;
use tempfile::TempDir;
use weir_e2e::{ControlPlane, Weir, until};

#[tokio::test]
async fn what_is_asked_of_a_real_api_server_is_in_k8s_audit() -> anyhow::Result<()> {
    let weir = Weir::start(&["--no-probe", "--k8s-audit", "127.0.0.1:0"]).await?;
    let dir = TempDir::with_prefix("weir-audit-")?;
    let (policy, config) = (dir.path().join("policy.yaml"), dir.path().join("webhook.yaml"));
    std::fs::write(
        &policy,
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n",
    )?;
    let webhook = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "weir",
        "clusters": [{"name": "weir", "cluster": {"server": weir.url("k8s_audit")?}}],
        "contexts": [{"name": "weir", "context": {"cluster": "weir", "user": ""}}],
    });
    std::fs::write(&config, webhook.to_string())?;
    let flags = [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-webhook-config-file={}", config.display()),
        "--audit-webhook-batch-max-wait=1s".to_owned(),
    ];
    let plane = ControlPlane::start_with(&flags).await?;
    let name = |name: &str| json!({"metadata": {"name": name}});
    plane.make("/api/v1/namespaces", &name("shop"))?;
    plane.make("/api/v1/namespaces/shop/configmaps", &name("prices"))?;
    plane.make("/api/v1/namespaces/shop/serviceaccounts", &name("clerk"))?;
    // A service account without rights is refused.
    let kubeconfig = plane.kubeconfig("shop", "clerk")?;
    let clerk = plane.token_of(&kubeconfig)?;
    assert!(plane.ask_as(&clerk, "DELETE", "/api/v1/namespaces/shop/configmaps/prices").is_err());

    let made = "SELECT count(*) FROM k8s_audit WHERE verb = 'create' AND resource = 'configmaps' AND namespace = 'shop' \
        AND name = 'prices' AND username = 'admin' AND response_code = 201 AND stage = 'ResponseComplete' \
        AND decision = 'allow' AND client_ip = '127.0.0.1' AND user_agent LIKE 'curl/%' AND api_group IS NULL \
        AND end_time >= time AND time > now() - INTERVAL '10 minutes'";
    let refused = "SELECT count(*) FROM k8s_audit WHERE verb = 'delete' AND name = 'prices' \
        AND username = 'system:serviceaccount:shop:clerk' AND response_code = 403 AND decision = 'forbid'";
    for question in [made, refused] {
        until(question, || async { Ok((weir.number(question).await? == 1).then_some(())) }).await?;
    }
    // Each once, though events come in many lists.
    let twice = "SELECT count(*) FROM (SELECT audit_id, stage FROM k8s_audit GROUP BY 1, 2 HAVING count(*) > 1) AS twice";
    assert_eq!(weir.number(twice).await?, 0);
    assert_eq!(weir.number("SELECT count(*) FROM probe_health WHERE counter LIKE 'refused%'").await?, 0);
    Ok(())
}
