"""The report of a run: Allure's pages, what of the runbook was proven, and the timeline of each failure."""
