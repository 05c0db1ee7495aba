"""How an agent replaces itself: `machine` decides, `journal` remembers, `disk` and `fetch` act, `runner` connects them.

`docs/upgrade.md` tells the protocol on one page.
"""
