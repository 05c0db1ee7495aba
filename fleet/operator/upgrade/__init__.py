"""How the operator leads the upgrades of a fleet's agents: a pure decision over what is known at one moment."""
