# SPDX-License-Identifier: Apache-2.0
"""The published schema accepts every example, and refuses what the parser refuses too."""
import glob
import json
import os
import unittest

import yaml

try:
    import jsonschema
except ImportError:
    jsonschema = None

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(f):
    """PyYAML has YAML 1.1, where the key "on" is true."""
    def mend(x):
        if isinstance(x, dict):
            return {"on" if k is True else k: mend(v) for k, v in x.items()}
        return [mend(v) for v in x] if isinstance(x, list) else x
    return mend(yaml.safe_load(f))


@unittest.skipUnless(jsonschema, "python3-jsonschema is not installed")
class Schema(unittest.TestCase):
    def setUp(self):
        with open(os.path.join(ROOT, "spec/tandem.schema.json")) as f:
            self.schema = json.load(f)
        jsonschema.Draft7Validator.check_schema(self.schema)
        self.check = jsonschema.Draft7Validator(self.schema)

    def test_examples(self):
        files = glob.glob(os.path.join(ROOT, "examples/*/tandem.yaml"))
        self.assertGreater(len(files), 2)
        for path in files:
            with self.subTest(path), open(path) as f:
                self.assertEqual([e.message for e in self.check.iter_errors(read(f))], [])

    def test_refuses(self):
        good = {"code": ".", "runtime": "python3.11", "handler": "a.b"}
        for change in ({"memroy": 1}, {"memory": "lots"}, {"timeout": "500ms"}, {"route": "x"}, {"cpu": 65}, {"allow": [{"action": "*"}]},
                       {"environment": {"1A": "x"}}, {"layers": "x"}, {"snapshot": "never"}):
            with self.subTest(change):
                self.assertFalse(self.check.is_valid({"name": "p", "functions": {"f": {**good, **change}}}))
        self.assertTrue(self.check.is_valid({"name": "p", "functions": {"f": good}}))
        for wish in yaml.safe_load("[auto, on, off]"):
            self.assertTrue(self.check.is_valid({"name": "p", "functions": {"f": {**good, "snapshot": wish}}}))
        for change in ({"rout": "/x"}, {"memory": "lots"}, {"containers": {"a": {"route": "/"}}}, {"health": {"https": "/"}}, {"depends_on": {"a": "later"}}):
            with self.subTest(change):
                self.assertFalse(self.check.is_valid({"name": "p", "tasks": {"t": {"image": "i", **change}}}))
        self.assertTrue(self.check.is_valid({"name": "p", "services": {"s": {"image": "i", "route": "/", "health": {"http": "/"}}}}))
        for top in ({}, {"name": "P"}, {"name": "api"}, {"name": "p", "crons": {}}, {"name": "p", "version": 2}):
            with self.subTest(top):
                self.assertFalse(self.check.is_valid(top))


if __name__ == "__main__":
    unittest.main()
