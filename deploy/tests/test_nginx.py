"""deploy/nginx/nginx.conf: a real nginx in front of the real program, both of this machine."""

import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess

import pytest
from observing import binary
from stack import ROOT, free_port, get, needs, until

TOKEN = "rat_" + "A" * 43


class Front:
    """nginx as it is configured, on ports of its own, before a server that believes it."""

    def __init__(self, directory):
        self.directory = directory
        self.http, self.https, self.application = free_port(), free_port(), free_port()
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-days",
                    "2",
                ),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", directory / "tls.key", "-out", directory / "tls.crt"),
            ],
            check=True,
            capture_output=True,
        )
        said = (ROOT / "deploy/nginx/nginx.conf").read_text()
        changed = {
            # First: what else is put in may lie below it.
            "/tmp/": f"{directory}/",
            "app:8000": f"127.0.0.1:{self.application}",
            "listen 8080": f"listen 127.0.0.1:{self.http}",
            "listen 8443": f"listen 127.0.0.1:{self.https}",
            "/run/secrets": str(directory),
            "access_log /dev/stdout": f"access_log {directory}/access.log",
            "error_log /dev/stderr": f"error_log {directory}/error.log",
        }
        for old, new in changed.items():
            assert old in said, f"nginx.conf has no '{old}' any more"
            said = said.replace(old, new)
        self.configuration = directory / "nginx.conf"
        self.configuration.write_text(said)
        self.trusting = ssl.create_default_context(cafile=directory / "tls.crt")
        self.server = self.nginx = None

    def start(self):
        directory = self.directory
        self.start_server()
        # Workers that are started by root are nobody's.
        os.chmod(directory, 0o755)
        self.nginx = subprocess.Popen(
            ["nginx", "-c", self.configuration, "-e", directory / "error.log", "-g", "daemon off; master_process on;"]
        )
        until("nginx answers", 20, lambda: self.get("/health/live")[0] == 200)

    def start_server(self):
        self.server = subprocess.Popen(
            [
                *(binary(), "serve", "--data-dir", self.directory / "data", "--port", str(self.application)),
                *("--trusted-proxy", "127.0.0.1", "--rate-limit-address", "1:3"),
            ],
            env={"PATH": "/usr/bin:/bin", "RLHF_AUDIT_ADMIN_TOKEN": TOKEN},
            stderr=(self.directory / "server.log").open("ab"),
        )
        until("the server answers", 20, lambda: get(f"http://127.0.0.1:{self.application}/health/live")[0] == 200)

    def stop_server(self):
        self.server.terminate()
        self.server.wait(timeout=30)

    def get(self, path, **options):
        return get(f"https://localhost:{self.https}{path}", context=self.trusting, **options)

    def lines(self):
        return [json.loads(line) for line in (self.directory / "access.log").read_text().splitlines()]

    def stop(self):
        if self.nginx:
            self.nginx.terminate()
            self.nginx.wait(timeout=20)
        if self.server:
            self.stop_server()


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    needs("nginx", "openssl")
    one = Front(tmp_path_factory.mktemp("front"))
    try:
        one.start()
        yield one
    finally:
        one.stop()


def test_plain_http_is_sent_to_https(front):
    connection = http.client.HTTPConnection("127.0.0.1", front.http)
    connection.request("GET", "/docs?x=1", headers={"Host": "audit.example"})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Location")) == (308, "https://audit.example/docs?x=1")


def test_answers_come_through_with_the_servers_own_headers(front):
    status, headers, body = front.get("/v1/tokens", token=TOKEN)
    assert status == 200 and json.loads(body)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert headers["Server"] == "nginx"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_protocols_are_refused(front):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", front.https)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_a_request_has_one_id_everywhere(front):
    _, headers, _ = front.get("/health/live", headers={"X-Request-Id": "trainer-7.step_3"})
    assert headers["X-Request-Id"] == "trainer-7.step_3"
    until("the log has it", 5, lambda: any(line["request_id"] == "trainer-7.step_3" for line in front.lines()))
    _, headers, _ = front.get("/health/live", headers={"X-Request-Id": 'a"b c'})
    given = headers["X-Request-Id"]
    assert len(given) == 32 and int(given, 16) >= 0
    until("the log has it", 5, lambda: any(line["request_id"] == given for line in front.lines()))


def test_metrics_stay_inside(front):
    assert front.get("/metrics")[0] == 404


def test_a_client_is_the_address_it_comes_from_whatever_it_says(front):
    """The server counts requests without a token by address: who writes another one each time is counted all the same."""
    answers = []
    for turn in range(8):
        # From an address of its own: the server believes 127.0.0.1.
        connection = http.client.HTTPSConnection(
            "localhost", front.https, context=front.trusting, source_address=("127.0.0.2", 0), timeout=10
        )
        connection.request("GET", "/log/checkpoint", headers={"X-Forwarded-For": f"198.51.100.{turn}"})
        answers.append(connection.getresponse().status)
        connection.close()
    assert answers[0] == 200 and 429 in answers, answers


def test_a_body_goes_through_as_it_comes(front):
    """The server sees the first half of a body while the second is still to come: nothing is gathered in between."""
    half = os.urandom(1 << 20)
    name = hashlib.sha256(half + half).hexdigest()
    connection = http.client.HTTPSConnection("localhost", front.https, context=front.trusting, timeout=20)
    connection.putrequest("PUT", f"/v1/attachments/{name}")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Content-Length", str(2 * len(half)))
    connection.endheaders()
    connection.send(half)

    def is_connected():
        port = f"{front.application:04X}"
        with open("/proc/net/tcp") as table:
            return any(f":{port} " in line and " 01 " in line for line in table)

    until("nginx has passed the first half on", 10, is_connected)
    connection.send(half)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    assert front.get(f"/v1/attachments/{name}", token=TOKEN)[2] == half + half


def test_a_body_beyond_the_servers_limit_is_refused(front):
    connection = http.client.HTTPSConnection("localhost", front.https, context=front.trusting, timeout=20)
    connection.putrequest("PUT", "/v1/attachments/" + "0" * 64)
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Content-Length", str(300 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_of_a_server_that_is_away_clients_hear_when_to_come_again(front):
    front.stop_server()
    status, headers, body = front.get("/health/live")
    assert status == 503 and headers["Retry-After"] == "2"
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["status"] == 503
    front.start_server()
    until("it is back", 10, lambda: front.get("/health/live")[0] == 200)


def test_its_log_is_json_and_holds_no_query(front):
    front.get("/v1/runs?name=a-persons-name", token=TOKEN)
    until("the log has it", 5, lambda: any(line["path"] == "/v1/runs" for line in front.lines()))
    assert "a-persons-name" not in (front.directory / "access.log").read_text()
    assert {"timestamp", "request_id", "client", "status", "seconds"} <= front.lines()[-1].keys()
