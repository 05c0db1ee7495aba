"""A fleet under attack: drive a hostile device against it, watch the others meanwhile, and judge what was seen."""
