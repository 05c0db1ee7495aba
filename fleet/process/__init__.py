"""What every process of ours needs: logs, what it prints, health pages, TLS contexts, file permissions, and retries."""
