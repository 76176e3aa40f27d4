"""An emulator of S3 on this machine, for tests of what goes into buckets."""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Dict, List

from harness.waiting import until

KEY_ID = "emulated"
SECRET = "nobody-may-read-this"


class BucketServer:
    """A process that keeps buckets in its memory until :meth:`end`."""

    def __init__(self, folder: Path) -> None:
        """Start it, and wait until it answers. Its output goes into the folder."""
        output = folder / "emulator.log"
        with open(output, "wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            self.url = until(lambda: self._address(output.read_text()), "the emulator listens")
        except BaseException:
            self.end()
            raise

    def _address(self, said: str) -> str:
        if self._process.poll() is not None:
            raise AssertionError(f"the emulator ended: {said}")
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        return found.group() if found else ""

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def environment(self) -> Dict[str, str]:
        """The variables by which programs find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }

    def make(self, bucket: str) -> None:
        """A bucket with nothing in it."""
        self._ask("PUT", bucket)

    def keys(self, bucket: str) -> List[str]:
        """What is in a bucket."""
        listing = self._ask("GET", f"{bucket}?list-type=2")
        return re.findall(r"<Key>(.*?)</Key>", listing)

    def remove(self, bucket: str, key: str) -> None:
        self._ask("DELETE", f"{bucket}/{key}")

    def uploads(self, bucket: str) -> List[str]:
        """Files that were begun in parts and neither completed nor given up."""
        return re.findall(r"<UploadId>(.*?)</UploadId>", self._ask("GET", f"{bucket}?uploads"))

    def _ask(self, method: str, what: str) -> str:
        # It checks no signature, and refuses to remove anything without one.
        signed = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20300101/us-east-1/s3/aws4_request"
        headers = {"Authorization": f"{signed}, SignedHeaders=host, Signature=none"}
        request = urllib.request.Request(f"{self.url}/{what}", method=method, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return answer.read().decode()
