"""What tshark says of the TLS handshakes in a capture, and JA4 made from what it says.

CAPTURE DECODE...: one JSON object a line for each pair of client and server port that has a ClientHello and a ServerHello.
JA4 is made here after FoxIO's specification (BSD-3-Clause), since not every tshark has it.
"""

import hashlib
import json
import subprocess
import sys

FIELDS = [
    "udp.srcport", "udp.dstport", "tcp.srcport", "tcp.dstport", "tls.handshake.type", "tls.handshake.version",
    "tls.handshake.extensions_server_name", "tls.handshake.ciphersuite", "tls.handshake.extension.type",
    "tls.handshake.sig_hash_alg", "tls.handshake.sig_hash_alg_len", "tls.handshake.extensions_alpn_str", "tls.handshake.extensions.supported_version",
    "tls.handshake.extensions_key_share_group", "tls.handshake.ja3", "tls.handshake.ja3s",
    "tls.handshake.server_named_curve",
]
GREASE = {byte << 8 | byte for byte in range(0x0A, 0x100, 0x10)}
VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3"}


# Extensions that have a list of signature algorithms: for the handshake, for delegated credentials, for certificates.
SIGNATURES = (13, 34, 50)


def values(text):
    return [int(part, 0) for part in text.split(",") if part]


def numbers(text):
    return [value for value in values(text) if value not in GREASE]


def signatures(hello):
    """Of the handshake: tshark shows all lists as one, in the order of their extensions, and each one's length."""
    listed = values(hello["sig_hash_alg"])
    lists = [extension for extension in values(hello["extension.type"]) if extension in SIGNATURES]
    for extension, length in zip(lists, values(hello["sig_hash_alg_len"])):
        own, listed = listed[: length // 2], listed[length // 2:]
        if extension == 13:
            return [value for value in own if value not in GREASE]
    return []


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12


def ja4(hello, quic):
    ciphers, extensions = numbers(hello["ciphersuite"]), numbers(hello["extension.type"])
    version = max(numbers(hello["extensions.supported_version"]) or numbers(hello["version"]))
    # A name may not have a comma.
    protocols = hello["extensions_alpn_str"].split(",")[0]
    head = "{}{}{}{:02}{:02}{}".format(
        "q" if quic else "t", VERSIONS.get(version, "00"), "d" if 0 in extensions else "i",
        min(len(ciphers), 99), min(len(extensions), 99), protocols[0] + protocols[-1] if protocols else "00",
    )
    text = ",".join(f"{number:04x}" for number in sorted(extensions) if number not in (0, 16))
    algorithms = ",".join(f"{number:04x}" for number in signatures(hello))
    return "_".join([
        head, digest(",".join(f"{number:04x}" for number in sorted(ciphers))),
        digest(text + "_" + algorithms if algorithms else text),
    ])


def packets(capture, decode):
    command = ["tshark", "-n", "-r", capture, "-Y", "tls.handshake.type in {1, 2, 12}", "-T", "fields"]
    for rule in decode:
        command += ["-d", rule]
    for field in FIELDS:
        command += ["-e", field]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    for line in output.splitlines():
        yield {name.removeprefix("tls.handshake."): value for name, value in zip(FIELDS, line.split("\t"))}


def main(capture, *decode):
    clients, servers = {}, {}
    for packet in packets(capture, decode):
        quic = packet["udp.srcport"] != ""
        src, dst = [packet[f"{'udp' if quic else 'tcp'}.{end}"].split(",")[-1] for end in ("srcport", "dstport")]
        kinds = packet["type"].split(",")
        if "1" in kinds:
            clients.setdefault((int(src), int(dst)), {
                "sni": packet["extensions_server_name"] or None,
                "alpn_offered": [name for name in packet["extensions_alpn_str"].split(",") if name],
                "ja3": packet["ja3"],
                "ja4": ja4(packet, quic),
            })
        if "2" in kinds or "12" in kinds:
            answer = servers.setdefault((int(dst), int(src)), {"group": None})
            group = numbers(packet["extensions_key_share_group"]) + numbers(packet["server_named_curve"])
            answer["group"] = group[0] if group else answer["group"]
            if "2" in kinds:
                answer["version"] = (numbers(packet["extensions.supported_version"]) or numbers(packet["version"]))[0]
                answer["cipher"] = numbers(packet["ciphersuite"])[0]
                answer["ja3s"] = packet["ja3s"]
    for (client, server), hello in clients.items():
        if (client, server) in servers:
            print(json.dumps({"client_port": client, "server_port": server, **hello, **servers[client, server]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
