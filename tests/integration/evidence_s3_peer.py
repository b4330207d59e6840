"""An S3 of moto, and a centre that grants uploads to it by URLs it signs; run by build/moto/bin/python, not by pytest.

`evidence_s3_peer.py PORT PART_BYTES` serves S3 on a port of its own and, on PORT: POST /grant (what a device asks, as
JSON) answers with a grant or a receipt; GET /objects names what is stored. Nothing of edge_agent.
"""

import hashlib
import json
import logging
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
PORT, PART_BYTES = int(sys.argv[1]), int(sys.argv[2])
S3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
S3.start()
ENDPOINT = "http://{}:{}".format(*S3.get_host_and_port())
CLIENT = boto3.client(
    "s3", endpoint_url=ENDPOINT, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
)
CLIENT.create_bucket(Bucket="evidence")


def grant(ask: dict) -> dict:
    key = f"D-1/{ask['sha256']}"
    try:
        body = CLIENT.get_object(Bucket="evidence", Key=key)["Body"].read()
    except CLIENT.exceptions.NoSuchKey:
        pass
    else:
        sha256 = hashlib.sha256(body).hexdigest()
        stored = "2026-11-22T05:00:00.000Z"
        return {"type": "receipt", "id": ask["id"], "sha256": sha256, "bytes": len(body), "stored_at": stored}
    known = {u["UploadId"] for u in CLIENT.list_multipart_uploads(Bucket="evidence").get("Uploads", [])}
    upload = ask.get("upload")
    if upload not in known:
        upload = CLIENT.create_multipart_upload(Bucket="evidence", Key=key)["UploadId"]
    where = {"Bucket": "evidence", "Key": key, "UploadId": upload}

    def sign(method: str, **more: object) -> str:
        return CLIENT.generate_presigned_url(method, Params=where | more, ExpiresIn=3600)

    count = max(1, -(-ask["bytes"] // PART_BYTES))
    return {
        "type": "s3",
        "upload": upload,
        "part_bytes": PART_BYTES,
        "parts": [sign("upload_part", PartNumber=n) for n in range(1, count + 1)],
        "list_url": sign("list_parts"),
        "complete_url": sign("complete_multipart_upload"),
    }


class Centre(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self._answer(grant(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

    def do_GET(self) -> None:
        found = CLIENT.list_objects_v2(Bucket="evidence").get("Contents", [])
        self._answer({"s3": ENDPOINT, "objects": [o["Key"] for o in found]})

    def _answer(self, answer: dict) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Centre).serve_forever()
