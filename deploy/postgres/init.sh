#!/usr/bin/env bash
# Run once, when the database is made: the application's role, which owns the database and is no superuser, and one that
# may look at statistics alone.
set -euo pipefail
psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 --username postgres --dbname "$POSTGRES_DB" \
  -v database="$POSTGRES_DB" \
  -v application="$(cat /run/secrets/database-password)" \
  -v metrics="$(cat /run/secrets/metrics-password)" <<'SQL'
CREATE ROLE rlhf_audit LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'application';
ALTER DATABASE :"database" OWNER TO rlhf_audit;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE ROLE rlhf_audit_metrics LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 5 PASSWORD :'metrics';
GRANT CONNECT ON DATABASE :"database" TO rlhf_audit_metrics;
GRANT pg_monitor TO rlhf_audit_metrics;
SQL
