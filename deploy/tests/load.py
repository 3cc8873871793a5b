"""A load that accounts for every record that was acknowledged: `rlhf-audit bench append` against a server."""

import json
import subprocess

from observing import binary


class Load:
    """Appends until its time is over, and sends again whatever was not answered."""

    def __init__(self, url, token, policy, seconds, rate=200):
        self.process = subprocess.Popen(
            [
                *(binary(), "--json", "bench", "append", "--server", url, "--policy", policy),
                *("--clients", "8", "--batch", "5", "--rate", str(rate), "--seconds", str(seconds)),
            ],
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "RLHF_AUDIT_TOKEN": token},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def account(self, timeout=180):
        """What came of it. Fails where a record that was acknowledged is not in the log, or the log is not whole."""
        said, errors = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, f"{said}\n{errors}"
        found = json.loads(said)
        check = found["check"]
        assert found["records"] > 0 and check["missing"] == 0 and check["wrong_receipts"] == 0, found
        assert check["found"] >= found["records"] and check["verdict"] == "verified", found
        return found

    def stop(self):
        self.process.kill()
        self.process.wait()
