"""A client that speaks HTTP/2 frame by frame, for what no gRPC client does: unfinished messages, resets, silence."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events

CLASSIFY = "/avizor.v1.InferenceService/Classify"


class WireClient:
    """One connection to a gateway."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self.send()

    def send(self) -> None:
        """Send the frames that were made."""
        self.socket.sendall(self.http.data_to_send())

    def begin(self, path: str = CLASSIFY) -> int:
        """Begin a call with its headers, and return its stream."""
        stream: int = self.http.get_next_available_stream_id()
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test"}
        self.http.send_headers(stream, list((fields | {"content-type": "application/grpc", "te": "trailers"}).items()))
        return stream

    def request(self, path: str, message: bytes) -> int:
        """Begin a call and send a message of it, and return its stream. Nothing more is sent on it, but it is not ended."""
        stream = self.begin(path)
        self.http.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message)
        self.send()
        return stream

    def trailers(self, stream: int) -> dict[str, str]:
        """Wait for the end of a call, and return its headers and trailers; empty if the connection ends first."""
        found: dict[str, str] = {}
        while data := self.socket.recv(65_536):
            for event in self.http.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived) and event.stream_id == stream:
                    found |= {str(name): str(value) for name, value in event.headers}
                    if event.stream_ended or isinstance(event, h2.events.TrailersReceived):
                        return found
            self.send()
        return {}

    def closed(self) -> bool:
        """Read until the gateway closes the connection. Answers nothing, not even a ping."""
        with contextlib.suppress(ConnectionResetError):
            while self.socket.recv(65_536):
                pass
        return True


@contextlib.contextmanager
def wire_client(address: str) -> Iterator[WireClient]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connected:
        yield WireClient(connected)
