"""The process that serves one scikit-learn model: `python -m gitops_serving.local.runtimes.sklearn`.

Only the order of things is decided here: prepare, then import, then load, then listen. A model that cannot be loaded
ends the process with its reason as the last line of the log, and nothing has listened by then.
"""

from __future__ import annotations

import sys

from gitops_serving.local.runtimes.prepare import prepare


def main() -> None:
    """Load and serve until SIGTERM."""
    options = prepare()
    from gitops_serving.local.runtimes.server import serve  # noqa: PLC0415  # kserve reads sys.argv at import
    from gitops_serving.local.runtimes.sklearn_model import SklearnModel  # noqa: PLC0415  # after the thread limits

    model = SklearnModel(options.model_name, options.model_dir)
    try:
        model.load()
    except Exception as error:  # noqa: BLE001  # a pickle may raise anything; the last log line must say what
        sys.exit(f"the model {options.model_name} cannot be loaded: {type(error).__name__}: {error}")
    serve(model, options.uds)


if __name__ == "__main__":
    main()
