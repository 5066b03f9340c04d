"""Put the folders a user edits into the wheel, but not into an editable install.

An editable install reads them where they stand; a copy beside it would go stale unseen.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CatalogueHook(BuildHookInterface):
    """Adds indexes/, datasets/ and experiments/ below retrieval_eval/catalogue/."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Extend the files of a standard wheel."""
        if version == "standard":
            for folder in ("indexes", "datasets", "experiments"):
                build_data["force_include"][folder] = f"retrieval_eval/catalogue/{folder}"
