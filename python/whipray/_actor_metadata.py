"""What libraries read off an actor class without starting an actor."""

from __future__ import annotations

from typing import Any

from whipray import _options


class ActorClassMetadata:
    """``ActorClass.__ray_metadata__``: the class behind it, and its options as attributes."""

    modified_class: type
    """The class as it was before it was decorated, to be derived from or tried without actors."""

    class_name: str

    def __init__(self, target: type, options: dict[str, Any]) -> None:
        self.modified_class = target
        self.class_name = target.__qualname__
        for name, option in _options.ACTOR.items():
            setattr(self, name, options.get(name, option.default))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the metadata of {self.class_name} has no '{name}'")
