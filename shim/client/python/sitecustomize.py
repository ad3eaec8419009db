# SPDX-License-Identifier: Apache-2.0
"""Put in front by `tandem env` (PYTHONPATH). botocore before 1.31 (boto3 before 1.28) does not know AWS_ENDPOINT_URL: when a program
imports botocore.session, its create_client gets that endpoint where the caller gave none. A program that never imports botocore pays one
more entry in sys.meta_path and nothing else. A sitecustomize that this one hides is run as well."""
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _patch(session_module):
    session = session_module.Session
    original = session.create_client

    def create_client(self, service_name, *args, **kwargs):
        # Positions of botocore's create_client: region_name, api_version, use_ssl, verify, endpoint_url.
        if len(args) < 5 and not kwargs.get("endpoint_url"):
            endpoint = os.environ.get("AWS_ENDPOINT_URL_" + service_name.upper().replace("-", "_")) or os.environ.get("AWS_ENDPOINT_URL")
            if endpoint:
                kwargs["endpoint_url"] = endpoint
        return original(self, service_name, *args, **kwargs)

    create_client.__doc__ = original.__doc__
    session.create_client = create_client


def _knows_endpoint():
    import botocore

    try:
        return tuple(int(p) for p in botocore.__version__.split(".")[:2]) >= (1, 31)
    except ValueError:
        return True


class _Finder:
    """Waits for botocore.session, lets the others find it, and patches it once it has run."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "botocore.session":
            return None
        import importlib.util

        sys.meta_path.remove(_Finder)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            try:
                if not _knows_endpoint():
                    _patch(module)
            except Exception:  # a program must not suffer from a convenience
                pass

        spec.loader.exec_module = exec_module
        return spec


def _chain():
    """The sitecustomize that would have been found without this folder."""
    rest = [p for p in sys.path if p and os.path.abspath(p) != _HERE]
    for folder in rest:
        path = os.path.join(folder, "sitecustomize.py")
        if not os.path.isfile(path):
            continue
        with open(path, "rb") as f:
            code = compile(f.read(), path, "exec")
        scope = {"__name__": "sitecustomize", "__file__": path, "__builtins__": __builtins__}
        exec(code, scope)
        return


if os.environ.get("AWS_ENDPOINT_URL"):
    sys.meta_path.insert(0, _Finder)
_chain()
