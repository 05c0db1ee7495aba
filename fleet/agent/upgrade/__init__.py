"""How an agent replaces itself: `protocol` decides, and `device` acts.

`docs/upgrade.md` tells the protocol on one page.
"""
