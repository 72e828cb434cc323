"""A server on the loopback address that answers the few REST calls which ``ServerIndex`` makes of Qdrant.

It is not Qdrant's server: it holds polysense's side of the talk, spoken by the real client. What lies behind it is a dict, or
Qdrant's own engine (qdrant-edge-py: the storage and search of the server, as a library), so that what the engine does with
points, payloads, cosines and deletions is the real thing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


class Server(ThreadingHTTPServer):
    def __init__(self, key=None, handler=None):
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.collections, self.key, self.asked = {}, key, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def _reply(self, result, code=200):
        body = {"time": 0.0, "status": "ok", "result": result} if code == 200 else {"status": {"error": result}}
        data = json.dumps(body).encode()
        self.send_response(code, "OK" if code == 200 else "Refused")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _go(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        path = self.path.partition("?")[0].strip("/").split("/")
        self.server.asked.append((self.command, self.path))
        if self.server.key and self.headers.get("api-key") != self.server.key:
            return self._reply("Invalid API key", 401)
        if path[0] != "collections" or len(path) < 2:
            return self._reply("what is that", 404)
        all_, name, rest = self.server.collections, path[1], "/".join(path[2:])
        if rest == "exists":
            return self._reply({"exists": name in all_})
        if self.command == "PUT" and not rest:
            all_[name] = self._made(body)
            return self._reply(True)
        if name not in all_:
            return self._reply(f"Collection `{name}` doesn't exist!", 404)
        return self._reply(getattr(self, "_" + (rest.replace("/", "_") or "about") + self.command)(all_[name], body))

    do_GET = do_POST = do_PUT = _go

    def _made(self, body):
        return {"vectors": body["vectors"], "points": {}}

    def _aboutGET(self, it, body):
        hnsw = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000}
        optimizer = {
            "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0, "flush_interval_sec": 5,
        }
        return {
            "status": "green", "optimizer_status": "ok", "segments_count": 1, "payload_schema": {},
            "config": {
                "params": {"vectors": it["vectors"]}, "hnsw_config": hnsw, "optimizer_config": optimizer,
                "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
            },
        }

    def _points_countPOST(self, it, body):
        return {"count": len(it["points"])}

    def _pointsPUT(self, it, body):
        for point in body["points"]:
            assert len(point["vector"]) == it["vectors"]["size"]
        it["points"] |= {point["id"]: point for point in body["points"]}
        return {"operation_id": 1, "status": "completed"}

    def _pointsPOST(self, it, body):
        return [self._told(it["points"][one], body) for one in body["ids"] if one in it["points"]]

    def _points_deletePOST(self, it, body):
        for one in body["points"]:
            it["points"].pop(one, None)
        return {"operation_id": 2, "status": "completed"}

    def _points_scrollPOST(self, it, body):
        order = sorted(it["points"])
        start = order.index(body["offset"]) if body.get("offset") else 0
        part = order[start : start + body["limit"]]
        after = order[start + body["limit"] : start + body["limit"] + 1]
        return {"points": [self._told(it["points"][one], body) for one in part], "next_page_offset": (after or [None])[0]}

    def _points_query_batchPOST(self, it, body):
        points, found = list(it["points"].values()), []
        vectors = np.array([point["vector"] for point in points], float).reshape(len(points), it["vectors"]["size"])
        for search in body["searches"]:
            near = vectors @ np.array(search["query"]["nearest"])
            order = np.argsort(-near, kind="stable")[: search["limit"]]
            found.append({"points": [{**self._told(points[i], search), "version": 1, "score": float(near[i])} for i in order]})
        return found

    def _told(self, point, body):
        wanted = body.get("with_payload")
        kept = point["payload"] if wanted is True else {name: point["payload"][name] for name in wanted or ()}
        return {"id": point["id"], "payload": kept}


class EngineHandler(Handler):
    """The same with Qdrant's engine behind it; a shard in a folder for each collection."""

    def _made(self, body):
        import qdrant_edge as edge

        wanted = edge.EdgeVectorParams(size=body["vectors"]["size"], distance=edge.Distance.Cosine)
        folder = tempfile.mkdtemp(prefix="shard-")
        shard = edge.EdgeShard.create(f"{folder}/shard", edge.EdgeConfig(vectors=wanted))
        return {"vectors": body["vectors"], "shard": shard, "folder": folder}

    def _points_countPOST(self, it, body):
        import qdrant_edge as edge

        return {"count": it["shard"].count(edge.CountRequest(exact=body.get("exact", True)))}

    def _pointsPUT(self, it, body):
        import qdrant_edge as edge

        points = [edge.Point(one["id"], one["vector"], one["payload"]) for one in body["points"]]
        it["shard"].update(edge.UpdateOperation.upsert_points(points))
        return {"operation_id": 1, "status": "completed"}

    def _pointsPOST(self, it, body):
        return [self._shown(one) for one in it["shard"].retrieve(body["ids"], body.get("with_payload"), False)]

    def _points_deletePOST(self, it, body):
        import qdrant_edge as edge

        it["shard"].update(edge.UpdateOperation.delete_points(body["points"]))
        return {"operation_id": 2, "status": "completed"}

    def _points_scrollPOST(self, it, body):
        import qdrant_edge as edge

        wanted = edge.ScrollRequest(offset=body.get("offset"), limit=body["limit"], with_payload=body.get("with_payload"))
        points, after = it["shard"].scroll(wanted)
        return {"points": [self._shown(one) for one in points], "next_page_offset": None if after is None else str(after)}

    def _points_query_batchPOST(self, it, body):
        import qdrant_edge as edge

        found = []
        for one in body["searches"]:
            query = edge.Query.Nearest(one["query"]["nearest"])
            wanted = edge.QueryRequest(limit=one["limit"], query=query, with_payload=one.get("with_payload"))
            points = it["shard"].query(wanted)
            found.append({"points": [{**self._shown(point), "version": 1, "score": point.score} for point in points]})
        return found

    @staticmethod
    def _shown(point):
        return {"id": str(point.id), "payload": point.payload}


@contextmanager
def serving(key=None, engine=False):
    server = Server(key, EngineHandler if engine else Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for one in server.collections.values():
            if "shard" in one:
                one["shard"].close()
                shutil.rmtree(one["folder"])
