"""A key-value service whose state is partly in memory and partly in files."""

import os
import re
import threading
import time
import uuid
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi import Path as PathParam
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

DATA_DIR = Path(os.environ.get("DATA_DIR", "/data-app"))
MAX_FILE_BYTES = 256 * 1024 * 1024
SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

FileName = Annotated[str, PathParam(pattern=SAFE_NAME)]


class Value(BaseModel):
    """The value of a key."""

    value: str


class State:
    """What is gone when the process ends."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.keys = {"colour": "blue", "greeting": "hello", "planet": "earth"}
        self.requests = 0
        self.instance = uuid.uuid4().hex
        self.started_at = datetime.now(timezone.utc).isoformat()
        self.started = time.monotonic()


state = State()


@asynccontextmanager
async def lifespan(_: FastAPI):
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    yield


app = FastAPI(title="target-app", lifespan=lifespan)


@app.middleware("http")
async def count(request: Request, call_next):
    with state.lock:
        state.requests += 1
    return await call_next(request)


@app.get("/health")
def health() -> dict:
    """Who answers: another process has another instance id, even under the same pid."""
    return {
        "status": "ok",
        "pid": os.getpid(),
        "instance": state.instance,
        "started_at": state.started_at,
        "uptime_s": round(time.monotonic() - state.started, 3),
    }


@app.get("/counter")
def counter() -> dict:
    """How many requests this process has had, this one included."""
    with state.lock:
        return {"requests": state.requests}


@app.get("/keys")
def list_keys() -> dict:
    with state.lock:
        return {"keys": dict(sorted(state.keys.items()))}


@app.get("/keys/{key}")
def read_key(key: str) -> dict:
    with state.lock:
        if key not in state.keys:
            raise HTTPException(404, f"no key {key!r}")
        return {"key": key, "value": state.keys[key]}


@app.put("/keys/{key}")
def set_key(key: str, body: Value) -> dict:
    with state.lock:
        state.keys[key] = body.value
    return {"key": key, "value": body.value}


@app.delete("/keys/{key}", status_code=204)
def delete_key(key: str) -> None:
    with state.lock:
        if state.keys.pop(key, None) is None:
            raise HTTPException(404, f"no key {key!r}")


@app.get("/files")
def list_files() -> dict:
    return {"files": sorted(f.name for f in DATA_DIR.iterdir() if re.match(SAFE_NAME, f.name))}


@app.get("/files/{name}")
def read_file(name: FileName) -> Response:
    try:
        content = (DATA_DIR / name).read_bytes()
    except FileNotFoundError:
        raise HTTPException(404, f"no file {name!r}") from None
    return Response(content, media_type="application/octet-stream")


@app.put("/files/{name}")
async def write_file(name: FileName, request: Request) -> dict:
    """Makes the request's body, whatever its type, the content of a file."""
    content = await request.body()
    if len(content) > MAX_FILE_BYTES:
        raise HTTPException(413, f"a file has at most {MAX_FILE_BYTES} bytes")
    await run_in_threadpool(replace_file, name, content)
    return {"name": name, "bytes": len(content)}


def replace_file(name: str, content: bytes) -> None:
    """Who reads the file meanwhile sees all of the old content or all of the new."""
    partial = DATA_DIR / f".{name}.{uuid.uuid4().hex}"
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(DATA_DIR / name)
    finally:
        partial.unlink(missing_ok=True)
