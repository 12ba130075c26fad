//! The demo's authority and certificates, new at every start, as PEM files in the run's directory.
//!
//! `ca` signs `api`, `store` and the client certificate `api-client`. Two are bad on purpose: `expired` (the
//! same authority, ended years ago) and `foreign` (a client certificate of an authority nobody trusts).

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

const DAY: Duration = Duration::from_hours(24);

/// Writes `<name>.pem` and `<name>.key` for each certificate, and `ca.pem`, into `dir`.
pub(super) fn write(dir: &Path) -> anyhow::Result<()> {
    let ca = authority("Weir Demo CA")?;
    let foreign = authority("Some Other CA")?;
    write_new(&dir.join("ca.pem"), &ca.pem)?;
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    leaf(dir, "api", "api.demo.internal", server.clone(), &ca.issuer, Valid::Now)?;
    leaf(dir, "expired", "api.demo.internal", server.clone(), &ca.issuer, Valid::LongAgo)?;
    leaf(dir, "store", "store.demo.internal", server, &ca.issuer, Valid::Now)?;
    leaf(dir, "api-client", "api.demo.internal", client.clone(), &ca.issuer, Valid::Now)?;
    leaf(dir, "foreign", "intruder.example", client, &foreign.issuer, Valid::Now)
}

#[derive(Clone, Copy)]
enum Valid {
    Now,
    LongAgo,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(name: &str) -> anyhow::Result<Authority> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok(Authority { issuer: Issuer::new(params, key), pem })
}

fn leaf(
    dir: &Path,
    file: &str,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'static, KeyPair>,
    valid: Valid,
) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![purpose];
    let (from, until) = match valid {
        Valid::Now => {
            let now = date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            (now - DAY, now + 90 * DAY)
        }
        Valid::LongAgo => (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 4, 1)),
    };
    (params.not_before, params.not_after) = (from, until);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    write_new(&dir.join(format!("{file}.pem")), &certificate.pem())?;
    write_new(&dir.join(format!("{file}.key")), &key.serialize_pem())
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).with_context(|| format!("make {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}
