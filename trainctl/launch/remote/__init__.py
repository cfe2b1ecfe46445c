"""Jobs on other machines: agents that a cluster engine starts, and the launcher's connections to them."""
