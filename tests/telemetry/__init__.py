"""What leaves this installation for collectors, alarms and dashboards."""
