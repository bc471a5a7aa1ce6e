"""Starts the plugin as Dify's plugin daemon does: `python -m main`.

Rule: `dify_plugin` is imported before anything else, because it patches the blocking calls of the standard library.
"""

from dify_plugin import DifyPluginEnv, Plugin

if __name__ == "__main__":
    environment = DifyPluginEnv()
    Plugin(environment).run()
