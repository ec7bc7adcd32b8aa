// @generated automatically by Diesel CLI.

diesel::table! {
    api_keys (id) {
        id -> Text,
        organization_id -> Text,
        hash -> Text,
        label -> Text,
        created_at -> Timestamp,
        revoked_at -> Nullable<Timestamp>,
        signer -> Nullable<Text>,
        role -> Text,
        sessions -> Nullable<Json>,
        expires_at -> Nullable<Timestamp>,
        last_used_at -> Nullable<Timestamp>,
        last_used_from -> Nullable<Text>,
        is_bootstrap -> Bool,
    }
}

diesel::table! {
    artifacts (id) {
        id -> Text,
        organization_id -> Text,
        session_id -> Nullable<Text>,
        run_id -> Nullable<Text>,
        block_id -> Nullable<Text>,
        artifact_type -> Text,
        path -> Text,
        media_type -> Text,
        size -> Int8,
        checksum -> Nullable<Text>,
        created_at -> Timestamp,
    }
}

diesel::table! {
    audit_events (id) {
        id -> Text,
        message_id -> Int8,
        cause_id -> Nullable<Int8>,
        kind -> Text,
        sender -> Text,
        receiver -> Text,
        organization_id -> Nullable<Text>,
        session_id -> Nullable<Text>,
        run_id -> Nullable<Text>,
        outcome -> Text,
        summary -> Json,
        sent_at -> Timestamp,
        key_id -> Nullable<Text>,
        client_address -> Nullable<Text>,
        request_id -> Nullable<Text>,
    }
}

diesel::table! {
    browser_profile_versions (profile_id, number) {
        profile_id -> Text,
        number -> Int8,
        organization_id -> Text,
        session_id -> Nullable<Text>,
        origin -> Text,
        path -> Text,
        size -> Int8,
        checksum -> Text,
        browser_version -> Nullable<Text>,
        created_at -> Timestamp,
    }
}

diesel::table! {
    browser_profiles (id) {
        id -> Text,
        organization_id -> Text,
        name -> Text,
        description -> Nullable<Text>,
        tags -> Nullable<Json>,
        managed_by -> Nullable<Text>,
        current_version -> Int8,
        last_version -> Int8,
        writer_id -> Nullable<Text>,
        created_at -> Timestamp,
        modified_at -> Timestamp,
    }
}

diesel::table! {
    browser_sessions (id) {
        id -> Text,
        organization_id -> Text,
        node_id -> Text,
        status -> Text,
        width -> Int4,
        height -> Int4,
        start_url -> Nullable<Text>,
        lifetime_seconds -> Int8,
        proxy -> Nullable<Text>,
        echo -> Json,
        display_number -> Nullable<Int4>,
        vnc_port -> Nullable<Int4>,
        desktop -> Nullable<Json>,
        occupancy_state -> Text,
        runnable_type -> Nullable<Text>,
        runnable_id -> Nullable<Text>,
        generation -> Int8,
        lease_hash -> Nullable<Text>,
        occupied_since -> Nullable<Timestamp>,
        heartbeat_at -> Nullable<Timestamp>,
        occupancy_expires_at -> Nullable<Timestamp>,
        expires_at -> Nullable<Timestamp>,
        idle_expires_at -> Nullable<Timestamp>,
        failure -> Nullable<Json>,
        created_at -> Timestamp,
        started_at -> Nullable<Timestamp>,
        completed_at -> Nullable<Timestamp>,
        modified_at -> Timestamp,
        start_by -> Nullable<Timestamp>,
        egress -> Nullable<Json>,
        sanitize_after -> Nullable<Int8>,
        sanitize_due -> Nullable<Int8>,
        rotation -> Int8,
        name -> Nullable<Text>,
        tags -> Nullable<Json>,
        settings -> Nullable<Json>,
        profile -> Nullable<Json>,
    }
}

diesel::table! {
    debug_sessions (id) {
        id -> Text,
        organization_id -> Text,
        user_id -> Text,
        workflow_permanent_id -> Text,
        session_id -> Text,
        status -> Text,
        expires_at -> Timestamp,
        created_at -> Timestamp,
        modified_at -> Timestamp,
    }
}

diesel::table! {
    egress_usage (session_id) {
        session_id -> Text,
        organization_id -> Text,
        day -> Text,
        bytes_before -> Int8,
        bytes -> Int8,
    }
}

diesel::table! {
    event_outbox (id) {
        id -> Text,
        organization_id -> Text,
        kind -> Text,
        session_id -> Nullable<Text>,
        run_id -> Nullable<Text>,
        data -> Json,
        happened_at -> Timestamp,
    }
}

diesel::table! {
    event_sequences (organization_id) {
        organization_id -> Text,
        last_seq -> Int8,
        forgotten_seq -> Int8,
    }
}

diesel::table! {
    idempotency_keys (organization_id, scope, key) {
        organization_id -> Text,
        scope -> Text,
        key -> Text,
        request_hash -> Text,
        response_status -> Nullable<Int4>,
        response -> Nullable<Json>,
        created_at -> Timestamp,
        resource_id -> Nullable<Text>,
        node_id -> Nullable<Text>,
    }
}

diesel::table! {
    leases (session_id) {
        session_id -> Text,
        organization_id -> Text,
        lease_hash -> Text,
        api_key_id -> Text,
        ends_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    nodes (id) {
        id -> Text,
        hostname -> Text,
        address -> Text,
        boot_id -> Text,
        started_at -> Timestamp,
        seen_at -> Timestamp,
        version -> Text,
    }
}

diesel::table! {
    organizations (id) {
        id -> Text,
        name -> Text,
        created_at -> Timestamp,
        egress -> Nullable<Json>,
        suspended_at -> Nullable<Timestamp>,
        deleted_at -> Nullable<Timestamp>,
        purged_at -> Nullable<Timestamp>,
        quotas -> Nullable<Json>,
        retention -> Nullable<Json>,
    }
}

diesel::table! {
    session_events (organization_id, seq) {
        organization_id -> Text,
        seq -> Int8,
        id -> Text,
        kind -> Text,
        session_id -> Nullable<Text>,
        run_id -> Nullable<Text>,
        data -> Json,
        happened_at -> Timestamp,
    }
}

diesel::table! {
    webhook_deliveries (id) {
        id -> Text,
        message_id -> Text,
        organization_id -> Text,
        url -> Text,
        attempt -> Int4,
        status_code -> Nullable<Int4>,
        response -> Nullable<Text>,
        error -> Nullable<Text>,
        latency_milliseconds -> Int8,
        created_at -> Timestamp,
    }
}

diesel::table! {
    webhook_messages (id) {
        id -> Text,
        organization_id -> Text,
        webhook_id -> Nullable<Text>,
        run_id -> Nullable<Text>,
        session_id -> Nullable<Text>,
        event_seq -> Nullable<Int8>,
        kind -> Text,
        url -> Text,
        body -> Nullable<Text>,
        status -> Text,
        attempts -> Int4,
        error -> Nullable<Text>,
        due_at -> Timestamp,
        created_at -> Timestamp,
        finished_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    webhooks (id) {
        id -> Text,
        organization_id -> Text,
        url -> Text,
        description -> Nullable<Text>,
        kinds -> Json,
        signer -> Text,
        former_signer -> Nullable<Text>,
        former_until -> Nullable<Timestamp>,
        paused -> Bool,
        created_at -> Timestamp,
        modified_at -> Timestamp,
    }
}

diesel::table! {
    workflow_run_blocks (id) {
        id -> Text,
        run_id -> Text,
        organization_id -> Text,
        parent_id -> Nullable<Text>,
        position -> Int4,
        label -> Text,
        block_type -> Text,
        status -> Text,
        output -> Nullable<Json>,
        failure -> Nullable<Json>,
        started_at -> Timestamp,
        finished_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    workflow_runs (id) {
        id -> Text,
        organization_id -> Text,
        node_id -> Text,
        workflow_id -> Text,
        workflow_permanent_id -> Text,
        session_id -> Nullable<Text>,
        owns_session -> Bool,
        debug_session_id -> Nullable<Text>,
        title -> Nullable<Text>,
        status -> Text,
        parameters -> Json,
        request -> Json,
        outputs -> Json,
        failure -> Nullable<Json>,
        created_at -> Timestamp,
        queued_at -> Nullable<Timestamp>,
        started_at -> Nullable<Timestamp>,
        finished_at -> Nullable<Timestamp>,
        modified_at -> Timestamp,
        api_key_id -> Nullable<Text>,
    }
}

diesel::table! {
    workflows (id) {
        id -> Text,
        permanent_id -> Text,
        organization_id -> Text,
        version -> Int4,
        title -> Text,
        description -> Nullable<Text>,
        status -> Text,
        definition -> Json,
        settings -> Json,
        created_at -> Timestamp,
        modified_at -> Timestamp,
        deleted_at -> Nullable<Timestamp>,
        name -> Nullable<Text>,
    }
}

diesel::joinable!(api_keys -> organizations (organization_id));
diesel::joinable!(browser_profile_versions -> browser_profiles (profile_id));
diesel::joinable!(leases -> browser_sessions (session_id));

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    artifacts,
    audit_events,
    browser_profile_versions,
    browser_profiles,
    browser_sessions,
    debug_sessions,
    egress_usage,
    event_outbox,
    event_sequences,
    idempotency_keys,
    leases,
    nodes,
    organizations,
    session_events,
    webhook_deliveries,
    webhook_messages,
    webhooks,
    workflow_run_blocks,
    workflow_runs,
    workflows,
);
