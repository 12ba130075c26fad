"""Says what comes before TLS in a protocol, then speaks TLS on the same connection.

server PROTOCOL CERTIFICATE KEY: prints its port, serves one connection.
mail PORT: a mail client that asks for TLS, and goes on behind it.
mysql PORT: a client whose SSLRequest and ClientHello share a segment.
plain PORT: a mail client that never asks for TLS and sends a message with a hello in it.
"""

import smtplib
import socket
import ssl
import sys

MYSQL_GREETING = (
    b"\x0a8.0.36\0" + b"\1\0\0\0" + b"saltsalt" + b"\0" + b"\xff\xff" + b"\x21" + b"\2\0" + b"\xff\xdf"
    + b"\x15" + bytes(10) + b"saltsaltsalt\0" + b"mysql_native_password\0"
)
MYSQL_SSL_REQUEST = bytes([32, 0, 0, 1]) + b"\x85\xae\x7f\0" + b"\0\0\0\1" + b"\x21" + bytes(23)
LDAP_SUCCESS = b"\x30\x0c\2\1\1\x78\7\x0a\1\0\4\0\4\0"


def lines(stream, greeting, answers):
    stream.sendall(greeting)
    received = stream.makefile("rb", buffering=0)
    while line := received.readline():
        command = line.strip().upper()
        for beginning, answer in answers:
            if command.startswith(beginning):
                stream.sendall(answer)
                if command.endswith((b"STARTTLS", b"STLS", b"AUTH TLS")):
                    return True
                if command.endswith(b"QUIT"):
                    return False
                break
    return False


SMTP = [
    (b"EHLO", b"250-mail.weir.test\r\n250-SIZE 1000\r\n250 STARTTLS\r\n"),
    (b"STARTTLS", b"220 go ahead\r\n"),
    (b"NOOP", b"250 still here\r\n"),
    (b"QUIT", b"221 bye\r\n"),
    (b"DATA", b"354 go on\r\n"),
    (b".", b"250 taken\r\n"),
]


def preamble(stream, protocol):
    if protocol == "smtp":
        return lines(stream, b"220-mail.weir.test\r\n220 ESMTP\r\n", SMTP)
    if protocol == "ftp":
        return lines(stream, b"220 FTP ready\r\n", [(b"AUTH TLS", b"234 go ahead\r\n")])
    if protocol == "imap":
        return lines(stream, b"* OK IMAP4rev1 ready\r\n", [
            (b". CAPABILITY", b"* CAPABILITY IMAP4rev1 STARTTLS\r\n. OK done\r\n"),
            (b". STARTTLS", b". OK begin\r\n"),
        ])
    if protocol == "pop3":
        return lines(stream, b"+OK POP3 ready\r\n", [(b"STLS", b"+OK begin\r\n")])
    if protocol == "postgres":
        assert stream.recv(8, socket.MSG_WAITALL) == b"\0\0\0\x08\x04\xd2\x16\x2f"
        stream.sendall(b"S")
    elif protocol == "mysql":
        stream.sendall(len(MYSQL_GREETING).to_bytes(3, "little") + b"\0" + MYSQL_GREETING)
        assert stream.recv(36, socket.MSG_WAITALL)[:4] == b"\x20\0\0\1"
    elif protocol == "ldap":
        assert stream.recv(1024)[:1] == b"\x30"
        stream.sendall(LDAP_SUCCESS)
    else:
        sys.exit(f"no such protocol: {protocol}")
    return True


def server(protocol, certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("10.83.0.2", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        stream, _ = listener.accept()
    if preamble(stream, protocol):
        with context.wrap_socket(stream, server_side=True) as stream:
            if protocol == "smtp":
                lines(stream, b"", SMTP)
            while stream.recv(4096):
                pass
    stream.close()


def hello(context):
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(received, sent, server_hostname="shop.weir.test")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return tls, received, sent


def unchecked():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def mysql(port):
    with socket.create_connection(("10.83.0.2", port)) as stream:
        stream.recv(1024)
        tls, received, sent = hello(unchecked())
        stream.sendall(MYSQL_SSL_REQUEST + sent.read())
        while True:
            received.write(stream.recv(16384))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        stream.sendall(sent.read())


def mail(port):
    with smtplib.SMTP("10.83.0.2", port, local_hostname="client.weir.test") as client:
        client.starttls(context=unchecked())
        client.noop()


def plain(port):
    _, _, sent = hello(unchecked())
    with socket.create_connection(("10.83.0.2", port)) as stream:
        received = stream.makefile("rb")
        received.readline()
        received.readline()
        for command, answers in ((b"EHLO there", 3), (b"DATA", 1), (b"text " + sent.read() + b"\r\n.", 1), (b"QUIT", 1)):
            stream.sendall(command + b"\r\n")
            for _ in range(answers):
                assert received.readline(), command


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server(*sys.argv[2:])
    else:
        {"mysql": mysql, "mail": mail, "plain": plain}[sys.argv[1]](int(sys.argv[2]))
