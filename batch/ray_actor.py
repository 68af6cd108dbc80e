"""What runs in a process of Ray's. It is sent there as it stands here, so that it imports the pack by itself."""

import runpy
from pathlib import Path
from typing import Any


class Actor:
    """One ComfyUI, started when it is first needed. Answers are plain, ("done", ...), ("lost", why, stage) or
    ("refused", why): what they say is read before the pack is.

    root: of this pack; comfyui, folder: see OwnServer; url: of the store; graph: a template's.
    """

    def __init__(self, root: str, comfyui: str, folder: str, url: str, graph: dict[str, Any]) -> None:
        runpy.run_path(str(Path(root, "tools", "pack.py")))["load_pack"]()
        from comfyui_videop2p.batch.servers import OwnServer
        from comfyui_videop2p.batch.store import Store
        from comfyui_videop2p.batch.template import template_of

        self.store, self.template = Store(url), template_of(graph)
        self.server, self.started = OwnServer(Path(comfyui), Path(folder), self.store), False

    def check(self, places: set[tuple[str, str]]) -> tuple[Any, ...]:
        return self._answered(lambda: self.server.check(self.template.graph, places))

    def done(self, job: Any, level: int) -> tuple[Any, ...]:
        from comfyui_videop2p.batch.work import Work

        return self._answered(lambda: Work(job, self.template, self.server, self.store).done(level))

    def _answered(self, ask: Any) -> tuple[Any, ...]:
        from comfyui_videop2p.batch.faults import BatchError, LostError

        try:
            if not self.started:
                self.server.start()
                self.started = True
            return "done", ask()
        except LostError as error:
            return "lost", str(error), error.stage
        except BatchError as error:
            return "refused", str(error)
