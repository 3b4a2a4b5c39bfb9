# Makes the cluster at the first start, then PostgreSQL takes the place of this shell.
set -eu

if [ ! -e "$PGDATA" ]; then
    # It appears complete or not at all. Small segments keep a snapshot of an idle cluster small.
    rm -rf "$PGDATA.new"
    initdb --pgdata="$PGDATA.new" --username=postgres --auth=trust --encoding=UTF8 \
        --data-checksums --wal-segsize=1
    echo 'host all all all trust' >> "$PGDATA.new/pg_hba.conf"
    mv "$PGDATA.new" "$PGDATA"
fi

# Checkpoints often: a capture is to meet one now and then. fsync and synchronous_commit stay on. Before
# it recovers from a crash, PostgreSQL would open each file for writing to sync it, which in a container
# copies it; one call for the whole file system does as well.
exec postgres -c listen_addresses='*' -c unix_socket_directories= -c jit=off \
    -c recovery_init_sync_method=syncfs -c shared_buffers=16MB \
    -c min_wal_size=2MB -c max_wal_size=8MB -c checkpoint_timeout=30s
