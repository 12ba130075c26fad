//! A client that goes away takes its question with it: over a real connection, closed while the answer is worked on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 10000000000) a, generate_series(1, 1000) b WHERE a.value % 7 = b.value % 5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_ends_with_its_client() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, world.router.clone()).into_future());
    for accept in ["application/json", "text/csv"] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /api/v1/sql HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\ncontent-length: {}\r\n\r\n{ENDLESS}",
            ENDLESS.len()
        );
        client.write_all(request.as_bytes()).await.unwrap();
        if accept == "text/csv" {
            // The head comes before the first row.
            let mut head = [0; 12];
            client.read_exact(&mut head).await.unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
        }
        let asked = async {
            while world.engine.running() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it is asked");
        drop(client);
        idle(&world.engine).await;
    }
    server.abort();
}
