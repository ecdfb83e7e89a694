"""Write docs/settings.md from the settings' own descriptions; tests/test_rules.py compares the two."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from esmc.settings import EsmcSettings  # noqa: E402
from host.settings import describe  # noqa: E402
from smc.settings import SmcSettings  # noqa: E402

FILE = ROOT / "docs" / "settings.md"
_CENTRES = (("One operator's centre", SmcSettings, "SMC"), ("The pan-European centre", EsmcSettings, "ESMC"))
_HEAD = """# Settings

Every setting is an environment variable, read once at the start. A misspelt variable of ours stops the start, a secret
has no default and is read from a file, and everything dangerous is off by default. `make settings-docs` writes this
page.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD]
    for title, kind, prefix in _CENTRES:
        rows = "\n".join(
            f"| `{name}` | {_default(default)} | {text.replace('|', chr(92) + '|')} |"
            for name, default, text in describe(kind, prefix)
        )
        parts.append(f"## {title}\n\n| variable | default | what it is |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _default(text: str) -> str:
    return {"required": "required", "": "none", "()": "none", ".": "none"}.get(text, f"`{text}`")


if __name__ == "__main__":
    FILE.write_text(page())
