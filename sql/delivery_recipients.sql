-- name: store_recipients
-- (writes)
-- The recipients of deliveries accepted in this transaction.
INSERT INTO delivery_recipients (delivery_id, ordinal, kind, address, canonical, status)
SELECT * FROM unnest(%(delivery_ids)b::uuid[], %(ordinals)b::smallint[], %(kinds)b::text[],
    %(addresses)b::text[], %(canonicals)b::text[], %(statuses)b::text[]);
