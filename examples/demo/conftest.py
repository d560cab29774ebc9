"""Nothing is needed here to use the plugin. demo.py compares: see plain.py."""

import os

if os.environ.get("DEMO_PLAIN"):
    from plain import (  # noqa: F401
        embedcache_model,
        embedding_model,
        every_faq_loads_its_own,
    )
