use proptest::prelude::*;

use super::*;

fn check(arguments: &[&str], expected: &str) {
    let bytes: Vec<u8> = arguments.iter().flat_map(|text| text.bytes().chain([0])).collect();
    assert_eq!(command_line(&bytes).as_deref(), Some(expected), "{arguments:?}");
}

#[test]
fn what_is_no_secret_stays() {
    check(
        &["/usr/sbin/nginx", "-g", "daemon off;", "-c", "/etc/nginx/nginx.conf"],
        "/usr/sbin/nginx -g 'daemon off;' -c /etc/nginx/nginx.conf",
    );
    check(
        &["java", "-XX:+UseG1GC", "-Xmx512m", "-jar", "/opt/shop/app-1.2.3.jar", "--server.port=8080"],
        "java -XX:+UseG1GC -Xmx512m -jar /opt/shop/app-1.2.3.jar --server.port=8080",
    );
    check(
        &["kubelet", "--tls-private-key-file=/var/lib/kubelet/pki/kubelet.key", "--token-ttl", "5m"],
        "kubelet --tls-private-key-file=/var/lib/kubelet/pki/kubelet.key --token-ttl 5m",
    );
    check(
        &["curl", "http://registry:4873/@scope/pkg", "ssh://git@github.com/a/b"],
        "curl http://registry:4873/@scope/pkg ssh://git@github.com/a/b",
    );
    check(
        &["x", "--id=123e4567-e89b-12d3-a456-426614174000", "token-service:1.2", "-path", "/a"],
        "x --id=123e4567-e89b-12d3-a456-426614174000 token-service:1.2 -path /a",
    );
    check(
        &["find", "", "-print0", "--keyspace=a", "--monkey=b", "--tokenizer", "c"],
        "find '' -print0 --keyspace=a --monkey=b --tokenizer c",
    );
    check(
        &["a", "/usr/lib/jvm/java-17-openjdk-amd64/lib/x86_64/Server/libjvm2.so", "-u", "1000:1000"],
        "a /usr/lib/jvm/java-17-openjdk-amd64/lib/x86_64/Server/libjvm2.so -u 1000:1000",
    );
    check(&["a\nb", "c\td"], "a b 'c d'");
}

#[test]
fn values_of_secret_flags_are_hidden() {
    for flag in [
        "--password",
        "--token",
        "--secret",
        "--key",
        "-p",
        "--api-key",
        "--client-secret",
        "-password",
        "--db.passwd",
        "--dbPassword",
        "--auth",
    ] {
        check(&["tool", flag, "Hush hush", "--host", "db"], &format!("tool {flag} *** --host db"));
    }
    for name in [
        "--password",
        "--auth-token",
        "PGPASSWORD",
        "MYSQL_PWD",
        "AWS_SECRET_ACCESS_KEY",
        "-Djavax.net.ssl.keyStorePassword",
        "--set=db.password",
        "GITHUBTOKEN",
        "X_KEY_1",
        "DB_PASS",
        "--env=API_TOKENS",
    ] {
        check(&["tool", &format!("{name}=Hush, hush"), "b"], &format!("tool '{name}=***' b"));
        check(&["tool", &format!("{name}=hush")], &format!("tool {name}=***"));
    }
    check(&["mysql", "-uroot", "-phush", "shop"], "mysql -uroot -p*** shop");
    check(&["redis-cli", "-a", "hush", "ping"], "redis-cli -a *** ping");
    check(&["/usr/bin/ldapsearch", "-x", "-w", "hush"], "/usr/bin/ldapsearch -x -w ***");
    check(&["tool", "--no-password", "--host", "db"], "tool --no-password --host db");
}

#[test]
fn headers_urls_and_scripts_are_searched() {
    check(&["curl", "-H", "Authorization: Bearer abc", "http://a/"], "curl -H 'Authorization:***' http://a/");
    check(
        &["curl", "-H", "X-Api-Key: abc", "-H", "Accept: text/html"],
        "curl -H 'X-Api-Key:***' -H 'Accept: text/html'",
    );
    check(
        &["curl", "-u", "joe:hush", "https://a/?a=1&access_token=hush&b=2"],
        "curl -u joe:*** https://a/?a=1&access_token=***",
    );
    check(
        &["app", "postgres://joe:hu@s/h@db:5432/shop?sslmode=off"],
        "app postgres://joe:***@db:5432/shop?sslmode=off",
    );
    check(&["app", "joe:hush@tcp(db:3306)/shop"], "app joe:***@tcp(db:3306)/shop");
    check(&["sh", "-c", "mysql --password hush shop"], "sh -c 'mysql --password ***'");
    check(&["sh", "-c", "mysql -phush shop"], "sh -c 'mysql -p***'");
    check(&["sh", "-c", "curl -H 'authorization: bearer hush'"], "sh -c 'curl -H 'authorization:***'");
    check(&["app", r#"{"user":"joe","password":"hush"}"#], r#"app {"user":"joe","password":***"#);
    check(&["app", "Server=db;Password=hush;Encrypt=on"], "app Server=db;Password=***");
    check(&["nginx: worker process", "", ""], "nginx: worker process");
    check(&["app --token hush"], "app --token ***");
}

#[test]
fn words_that_only_machines_make_are_hidden() {
    check(&["a", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"], "a ***");
    check(&["a", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"], "a ***");
    check(&["a", "--x=d41d8cd98f00b204e9800998ecf8427e"], "a --x=***");
    check(
        &[
            "a",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0aB3.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV",
        ],
        "a ***.***.***",
    );
    check(
        &["a", "https://x/hook/T00AbC12dEf/9f86d081884c7d659a2feaa0c55ad015"],
        "a https://x/hook/T00AbC12dEf/***",
    );
}

/// What was cut may have lost the mark of its secret.
#[test]
fn a_long_command_line_is_cut_between_arguments() {
    let mut bytes = b"app\0".to_vec();
    bytes.extend(b"x\0".repeat(MAX_COMMAND_LINE / 2 - 10));
    bytes.extend(b"postgres://joe:hushhushhushhush@db/");
    bytes.truncate(MAX_COMMAND_LINE + 1);
    let line = command_line(&bytes).unwrap();
    assert!(line.starts_with("app x x") && line.ends_with("x …") && !line.contains("hush"), "{line}");
    assert_eq!(command_line(&[b'x'; MAX_COMMAND_LINE + 1]).as_deref(), Some(HIDDEN));
    assert_eq!(command_line(b""), None);
    assert_eq!(command_line(b"\0\0"), None);
}

proptest! {
    #[test]
    fn any_bytes_give_a_bounded_line(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
        if let Some(line) = command_line(&bytes[..bytes.len().min(MAX_COMMAND_LINE + 1)]) {
            prop_assert!(line.len() < 8 * MAX_COMMAND_LINE);
            prop_assert!(!line.contains('\0'));
        }
    }

    #[test]
    fn any_text_is_taken(text in "(?s)[-=:@/ '\"pä€Bearer\u{0}aZ9_.]{0,200}") {
        let _ = command_line(text.as_bytes());
    }

    /// Wherever a secret stands behind a mark, none of it is shown, the program and the flag are.
    #[test]
    fn no_announced_secret_is_shown(
        secret in "QZ[ -~]{6,40}ZQ",
        before in proptest::collection::vec("[a-z/]{1,8}", 0..4),
        form in 0_usize..14,
    ) {
        let arguments: Vec<String> = match form {
            0 => vec!["--password".to_owned(), secret.clone()],
            1 => vec![format!("--password={secret}")],
            2 => vec!["-p".to_owned(), secret.clone()],
            3 => vec![format!("-p{secret}")],
            4 => vec!["--api-key".to_owned(), secret.clone()],
            5 => vec![format!("AWS_SECRET_ACCESS_KEY={secret}")],
            6 => vec!["-H".to_owned(), format!("Authorization: Basic {secret}")],
            7 => vec![format!("https://a/?token={secret}")],
            8 => vec!["-c".to_owned(), format!("tool --token {secret}")],
            9 => vec![format!("redis://joe:{}@host/0", secret.replace(' ', "_"))],
            10 => vec![format!("{{\"password\": \"{secret}\"}}")],
            11 => vec!["--env".to_owned(), format!("DB_PASS={secret}")],
            12 => vec!["Authorization:".to_owned(), secret.clone()],
            _ => vec!["-u".to_owned(), format!("joe:{secret}")],
        };
        let all = std::iter::once("/usr/bin/tool".to_owned()).chain(before.clone()).chain(arguments.clone());
        let bytes: Vec<u8> = all.flat_map(|text| format!("{text}\0").into_bytes()).collect();
        let line = command_line(&bytes).unwrap();
        prop_assert!(!line.contains("QZ") && !line.contains("ZQ"), "{line}");
        prop_assert!(line.starts_with("/usr/bin/tool"), "{line}");
        for word in &before {
            prop_assert!(line.contains(word.as_str()), "{line}");
        }
    }

    /// Only what looks like a secret costs anything.
    #[test]
    fn plain_words_stay_as_they_are(words in proptest::collection::vec("(--?)?[a-f]{1,9}(=[a-f0-9/]{1,9})?", 1..8)) {
        let bytes: Vec<u8> = words.iter().flat_map(|text| format!("{text}\0").into_bytes()).collect();
        prop_assert_eq!(command_line(&bytes).unwrap(), words.join(" "));
    }
}
