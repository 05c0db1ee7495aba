"""How an agent replaces itself, as pure decisions: events in, effects out, and the journal that survives a crash."""
