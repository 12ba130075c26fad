"""QUIC peers.

server CERTIFICATE KEY [retry]: prints its port, answers what comes on streams.
client PORT VERSION CONNECTIONS: connects so often, one after the other, and prints what it knows of each as JSON.
"""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import QuicProtocolVersion

VERSIONS = {"1": QuicProtocolVersion.VERSION_1, "2": QuicProtocolVersion.VERSION_2}


class Echo(QuicConnectionProtocol):
    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
            self.transmit()


async def server(certificate, key, *options):
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=["h3"], supported_versions=list(VERSIONS.values())
    )
    configuration.load_cert_chain(certificate, key)
    running = await serve(
        "10.83.0.2", 0, configuration=configuration, create_protocol=Echo, retry="retry" in options
    )
    print(running._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


async def client(port, version, connections):
    for _ in range(int(connections)):
        configuration = QuicConfiguration(
            alpn_protocols=["h3", "hq-interop"],
            server_name="shop.weir.test",
            verify_mode=ssl.CERT_NONE,
            original_version=VERSIONS[version],
            supported_versions=[VERSIONS[version]],
        )
        async with connect("10.83.0.2", int(port), configuration=configuration) as connection:
            reader, writer = await connection.create_stream()
            writer.write(b"question")
            writer.write_eof()
            assert await reader.read() == b"question"
            quic = connection._quic
            print(json.dumps({
                "cipher": "TLS_" + quic.tls.key_schedule.cipher_suite.name,
                "alpn": quic.tls.alpn_negotiated,
                "client_scid": quic.host_cid.hex(),
            }), flush=True)


if __name__ == "__main__":
    asyncio.run({"server": server, "client": client}[sys.argv[1]](*sys.argv[2:]))
