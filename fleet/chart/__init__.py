"""The server as a Helm chart: the files in `fleet/chart/fleet`, how they are published, and what their jobs run."""
