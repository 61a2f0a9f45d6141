//! `dqlite tls`: a small authority of one's own, for clusters that have no other.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Subcommand;
use dqlite_client::blocking::probe;
use dqlite_client::tls::{Files, Identity};
use dqlite_client::{Address, Config};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::tls_show;

/// A directory that holds files already.
const EXIT_EXISTS: u8 = 5;
/// A server that cannot be reached, or a certificate that will not do.
const EXIT_NOT_GOOD: u8 = 3;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_hours(24);
const CA_DAYS: u32 = 3650;
const CA_NAME: &str = "dqlite CA";
/// The stem of the certificate for applications.
const CLIENT: &str = "client";

#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Make an authority, a certificate for each node, and one for applications.
    Init(Wanted),
    /// Make further certificates with the authority of an earlier `init`.
    Issue(Wanted),
    /// Show what certificates say of themselves; the status is 3 if one is not good today.
    Show {
        /// PEM files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// One JSON document a line.
        #[arg(long)]
        json: bool,
    },
    /// Shake hands with each server of a URL, and say which check fails.
    Check {
        /// Such as `dqlites://h1:9001,h2:9001?ca=ca.pem&cert=client.pem&key=client.key`.
        target: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// Where the files are, or will be.
    directory: PathBuf,
    /// Addresses of nodes, HOST:PORT; each host gets a certificate.
    #[arg(long = "node", value_name = "ADDRESS", required = true, num_args = 1..)]
    nodes: Vec<String>,
    /// Further names in the certificates of all nodes, such as one for the whole cluster.
    #[arg(long = "name", value_name = "NAME", num_args = 1..)]
    names: Vec<String>,
    /// How long the certificates are good.
    #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// A file to be written.
struct File {
    name: String,
    text: String,
}

pub(crate) fn run(command: &Tls) -> ExitCode {
    let made = match command {
        Tls::Init(wanted) => init(wanted),
        Tls::Issue(wanted) => issue(wanted),
        Tls::Show { files, json } => {
            tls_show::show(files, *json).map(|good| if good { Made::Files } else { Made::NotGood })
        }
        Tls::Check { target } => check(target),
    };
    match made {
        Ok(Made::Files) => ExitCode::SUCCESS,
        Ok(Made::NotGood) => ExitCode::from(EXIT_NOT_GOOD),
        Ok(Made::InTheWay(path)) => {
            eprintln!("dqlite: {} exists and is not overwritten", path.display());
            ExitCode::from(EXIT_EXISTS)
        }
        Err(reason) => {
            eprintln!("dqlite: {reason:#}");
            ExitCode::FAILURE
        }
    }
}

enum Made {
    Files,
    InTheWay(PathBuf),
    NotGood,
}

/// Tries each server, and writes a line about it.
fn check(target: &str) -> Result<Made> {
    let config = Config::parse(target)?;
    ensure!(
        config.is_secure(),
        "{target} is not dialled with TLS: write dqlites://"
    );
    let mut out = io::stdout().lock();
    let mut made = Made::Files;
    for address in &config.hosts {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        match probe(&config, address, deadline) {
            Ok(_) => writeln!(out, "{address}  good")?,
            Err(reason) => {
                writeln!(out, "{address}  {reason}")?;
                made = Made::NotGood;
            }
        }
    }
    Ok(made)
}

fn init(wanted: &Wanted) -> Result<Made> {
    let key = KeyPair::generate()?;
    // Two authorities, one after the other, must not have one name.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let params = authority(&format!("{CA_NAME} {:x}", now.as_secs()));
    let mut files = vec![
        file("ca.pem", params.self_signed(&key)?.pem()),
        file("ca.key", key.serialize_pem()),
    ];
    let issuer = Issuer::new(params, key);
    files.extend(signed(wanted, &issuer)?);
    files.extend(client(wanted, &issuer)?);
    let made = write(&wanted.directory, &files)?;
    if let Made::Files = made {
        explain(wanted)?;
    }
    Ok(made)
}

fn issue(wanted: &Wanted) -> Result<Made> {
    let path = wanted.directory.join("ca.key");
    let key = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let key = KeyPair::from_pem(&key).context("ca.key is no key")?;
    let signers = Identity::load(&Files::new(wanted.directory.join("ca.pem")))?;
    let subject = signers.signers().first().map(|signer| &signer.subject);
    let name = subject.and_then(|subject| subject.strip_prefix("CN="));
    let name = name.filter(|name| name.starts_with(CA_NAME));
    let name = name.context("ca.pem was not made by `dqlite tls init`")?;
    let issuer = Issuer::new(authority(name), key);
    write(&wanted.directory, &signed(wanted, &issuer)?)
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    last(&mut params, CA_DAYS);
    params
}

/// A certificate for each host.
fn signed(wanted: &Wanted, issuer: &Issuer<'_, KeyPair>) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for host in hosts(wanted)? {
        let names: BTreeSet<String> = wanted.names.iter().cloned().collect();
        let names = std::iter::once(host.clone()).chain(names).collect();
        let usages = vec![Usage::ServerAuth, Usage::ClientAuth];
        files.extend(leaf(&stem(&host), names, usages, wanted.days, issuer)?);
    }
    Ok(files)
}

fn client(wanted: &Wanted, issuer: &Issuer<'_, KeyPair>) -> Result<[File; 2]> {
    let names = vec![CLIENT.to_owned()];
    leaf(CLIENT, names, vec![Usage::ClientAuth], wanted.days, issuer)
}

fn leaf(
    stem: &str,
    names: Vec<String>,
    usages: Vec<Usage>,
    days: u32,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<[File; 2]> {
    let subject = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names)
        .with_context(|| format!("{subject} cannot be the name in a certificate"))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    last(&mut params, days);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok([
        file(&format!("{stem}.pem"), certificate.pem()),
        file(&format!("{stem}.key"), key.serialize_pem()),
    ])
}

/// From yesterday on, for clocks that differ.
fn last(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
}

fn hosts(wanted: &Wanted) -> Result<BTreeSet<String>> {
    let mut hosts = BTreeSet::new();
    for node in &wanted.nodes {
        let address = Address::parse(node)?;
        let Some(host) = address.host() else {
            bail!("{node} names no host");
        };
        ensure!(
            ![CLIENT, "ca"].contains(&host),
            "a host called {host} would share the files of another certificate"
        );
        hosts.insert(host.to_owned());
    }
    Ok(hosts)
}

fn stem(host: &str) -> String {
    host.replace(':', "-")
}

fn file(name: &str, text: String) -> File {
    File {
        name: name.to_owned(),
        text,
    }
}

/// Writes all files, or none.
fn write(directory: &Path, files: &[File]) -> Result<Made> {
    let make = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    make.with_context(|| format!("make {}", directory.display()))?;
    let paths = files.iter().map(|file| directory.join(&file.name));
    if let Some(path) = paths.clone().find(|path| path.exists()) {
        return Ok(Made::InTheWay(path));
    }
    for (file, path) in files.iter().zip(paths) {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut opened| opened.write_all(file.text.as_bytes()))
            .with_context(|| format!("write {}", path.display()))?;
    }
    for file in files {
        eprintln!("wrote {}", directory.join(&file.name).display());
    }
    Ok(Made::Files)
}

fn explain(wanted: &Wanted) -> Result<()> {
    let place = wanted.directory.display();
    let example = hosts(wanted)?.pop_first().unwrap_or_default();
    let (stem, node) = (stem(&example), wanted.nodes.first().cloned());
    let node = node.unwrap_or_default();
    eprintln!(
        "\nNext:\n  \
         1. Copy ca.pem and the two files of its host to each node, and start it with\n     \
         tls_ca={place}/ca.pem tls_cert={place}/{stem}.pem tls_key={place}/{stem}.key\n  \
         2. Copy ca.pem, client.pem and client.key to each application, which connects to\n     \
         dqlites://{node}/DATABASE?ca={place}/ca.pem&cert={place}/client.pem\
         &key={place}/client.key\n  \
         3. Keep ca.key off all of them: who has it can become anybody.\n     \
         `dqlite tls issue {place} --node HOST:PORT` makes certificates for further nodes."
    );
    Ok(())
}
