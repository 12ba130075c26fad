//! A proxy's access log over OTLP → `http_requests`, and the verdict of the flow that a refused request came by.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use weir_e2e::{Weir, need_root, until};

fn log(client: SocketAddr, server: SocketAddr, more: &[(&str, &str)]) -> anyhow::Result<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos().to_string();
    let (client, server) = (client.to_string(), server.to_string());
    let ends =
        [("downstream_remote_address", client.as_str()), ("downstream_local_address", server.as_str())];
    let attributes =
        ends.iter().chain(more).map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}));
    let record = json!({"timeUnixNano": now, "attributes": attributes.collect::<Vec<_>>()});
    let resource = json!({"attributes": [{"key": "node_name", "value": {"stringValue": "sidecar~shop"}}]});
    Ok(json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}))
}

#[tokio::test]
async fn a_request_that_a_proxy_refused_is_beside_its_flow_whose_verdict_it_is() -> anyhow::Result<()> {
    need_root();
    let weir = Weir::start(&[]).await?;
    assert_eq!(weir.ready("probe"), "running");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let server = listener.local_addr()?;
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(server)?;
        let (mut served, address) = listener.accept()?;
        client.write_all(b"GET /pay HTTP/1.1\r\nhost: shop\r\n\r\n")?;
        served.read_exact(&mut [0; 10])?;
        served.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")?;
        client.read_exact(&mut [0; 12])?;
        ends.push((client, served, address));
    }
    let (refused, allowed) = (ends[0].2, ends[1].2);
    let details =
        ("response_code_details", "rbac_access_denied_matched_policy[ns[shop]-policy[no-guests]-rule[0]]");
    let request = [("method", "GET"), ("path", "/pay"), ("authority", "shop"), ("duration", "3")];
    let no = [&request[..], &[("response_code", "403"), details]].concat();
    let yes = [&request[..], &[("response_code", "200"), ("response_code_details", "via_upstream")]].concat();
    weir.post("otlp_http", "/v1/logs", &log(refused, server, &no)?).await?;
    weir.post("otlp_http", "/v1/logs", &log(allowed, server, &yes)?).await?;
    drop(ends);

    let joined = |port: u16| {
        format!(
            "SELECT DISTINCT f.policy_verdict, f.policy, r.status_code, r.path, r.proxy FROM flows f JOIN http_requests r \
             ON f.client_ip = r.client_ip AND f.client_port = r.client_port AND f.server_ip = r.server_ip \
             AND f.server_port = r.server_port AND r.time BETWEEN f.opened_time AND f.end_time \
             WHERE f.client_port = {port} AND f.state IN ('closed', 'only')"
        )
    };
    let row = |port| {
        let question = joined(port);
        let weir = &weir;
        async move { Ok(weir.sql(&question).await?.first().cloned()) }
    };
    let (dropped, _) = until("the refused request is beside its flow", || row(refused.port())).await?;
    let policy = "ns[shop]-policy[no-guests]-rule[0]";
    assert_eq!(dropped, [json!("dropped"), json!(policy), json!(403), json!("/pay"), json!("sidecar~shop")]);
    let (forwarded, _) = until("the other one too", || row(allowed.port())).await?;
    assert_eq!(forwarded[1..3], [Value::Null, json!(200)]);
    assert_ne!(forwarded[0], "dropped");
    Ok(())
}

#[tokio::test]
async fn a_log_that_is_no_request_is_refused_alone_and_counted() -> anyhow::Result<()> {
    let weir = Weir::start(&["--no-probe"]).await?;
    let at = SocketAddr::from(([10, 0, 0, 1], 1));
    let hello = log(at, at, &[("message", "hello")])?;
    weir.post("otlp_http", "/v1/logs", &hello).await?;
    weir.post("otlp_http", "/v1/logs", &log(at, at, &[("method", "PUT")])?).await?;
    assert_eq!(weir.number("SELECT count(*) FROM http_requests WHERE method = 'PUT'").await?, 1);
    assert_eq!(weir.number("SELECT count(*) FROM http_requests").await?, 1);
    let page = weir.page("/metrics").await?;
    assert!(page.contains("weir_ingest_refused_total{reason=\"log_is_no_request\"} 1"), "{page}");
    Ok(())
}
