CREATE TABLE audit_event (
id VARCHAR(64) NOT NULL,
at_us BIGINT NOT NULL,
actor_kind VARCHAR(16) NOT NULL,
actor_id VARCHAR(64) NOT NULL,
actor_name VARCHAR(320) NOT NULL,
action VARCHAR(64) NOT NULL,
subject VARCHAR(200) NOT NULL,
"before" JSON NOT NULL,
"after" JSON NOT NULL,
reason VARCHAR(1000) NOT NULL,
ip VARCHAR(64) NOT NULL,
request_id VARCHAR(64) NOT NULL,
CONSTRAINT pk_audit_event PRIMARY KEY (id),
CONSTRAINT ck_audit_event_actor_kind_known CHECK (actor_kind IN ('operator', 'customer', 'system'))
)

CREATE INDEX ix_audit_event_at ON audit_event (at_us, id)

CREATE INDEX ix_audit_event_subject ON audit_event (subject, at_us)

CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END

CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END

CREATE TABLE model_on_sale (
name VARCHAR(200) NOT NULL,
title VARCHAR(200) NOT NULL,
description VARCHAR(2000) NOT NULL,
owned_by VARCHAR(200) NOT NULL,
context_max BIGINT NOT NULL,
bytes_per_token FLOAT NOT NULL,
is_on_sale BOOLEAN NOT NULL,
created_at_us BIGINT NOT NULL,
updated_at_us BIGINT NOT NULL,
CONSTRAINT pk_model_on_sale PRIMARY KEY (name),
CONSTRAINT ck_model_on_sale_context_max_positive CHECK (context_max >= 1),
CONSTRAINT ck_model_on_sale_bytes_per_token_positive CHECK (bytes_per_token > 0)
)

CREATE TABLE price_book (
sequence BIGINT NOT NULL,
id VARCHAR(64) NOT NULL,
predecessor_id VARCHAR(64),
sha256 VARCHAR(64) NOT NULL,
effective_at_us BIGINT NOT NULL,
record JSON NOT NULL,
published_by VARCHAR(200) NOT NULL,
reason VARCHAR(1000) NOT NULL,
created_at_us BIGINT NOT NULL,
CONSTRAINT pk_price_book PRIMARY KEY (sequence),
CONSTRAINT ck_price_book_sequence_positive CHECK (sequence >= 1),
CONSTRAINT ck_price_book_sha256_whole CHECK (length(sha256) = 64),
CONSTRAINT ck_price_book_first_has_no_predecessor CHECK ((sequence = 1) = (predecessor_id IS NULL)),
CONSTRAINT uq_price_book_id UNIQUE (id),
CONSTRAINT uq_price_book_predecessor_id UNIQUE (predecessor_id),
CONSTRAINT fk_price_book_predecessor_id_price_book FOREIGN KEY(predecessor_id) REFERENCES price_book (id),
CONSTRAINT uq_price_book_sha256 UNIQUE (sha256)
)

CREATE INDEX ix_price_book_effective_at_us ON price_book (effective_at_us)

CREATE TRIGGER price_book_no_update BEFORE UPDATE ON price_book BEGIN SELECT RAISE(ABORT, 'price_book is append-only'); END

CREATE TRIGGER price_book_no_delete BEFORE DELETE ON price_book BEGIN SELECT RAISE(ABORT, 'price_book is append-only'); END

CREATE TABLE provider_account (
id VARCHAR(64) NOT NULL,
name VARCHAR(200) NOT NULL,
state VARCHAR(16) NOT NULL,
version INTEGER NOT NULL,
created_at_us BIGINT NOT NULL,
updated_at_us BIGINT NOT NULL,
CONSTRAINT pk_provider_account PRIMARY KEY (id),
CONSTRAINT ck_provider_account_state_known CHECK (state IN ('enabled', 'draining', 'disabled')),
CONSTRAINT ck_provider_account_version_positive CHECK (version >= 1)
)

CREATE TABLE idempotency_key (
customer_id VARCHAR(64) NOT NULL,
"key" VARCHAR(255) NOT NULL,
request_id VARCHAR(64) NOT NULL,
body_sha256 VARCHAR(64) NOT NULL,
claimed_at_us BIGINT NOT NULL,
CONSTRAINT pk_idempotency_key PRIMARY KEY (customer_id, "key"),
CONSTRAINT ck_idempotency_key_digest_whole CHECK (length(body_sha256) = 64)
)

CREATE INDEX ix_idempotency_key_claimed_at_us ON idempotency_key (claimed_at_us)

CREATE TABLE customer (
id VARCHAR(64) NOT NULL,
name VARCHAR(200) NOT NULL,
email VARCHAR(320) NOT NULL,
rpm BIGINT,
tpm BIGINT,
concurrency BIGINT,
is_frozen BOOLEAN NOT NULL,
created_at_us BIGINT NOT NULL,
CONSTRAINT pk_customer PRIMARY KEY (id),
CONSTRAINT ck_customer_rpm_positive CHECK (rpm IS NULL OR rpm > 0),
CONSTRAINT ck_customer_tpm_positive CHECK (tpm IS NULL OR tpm > 0),
CONSTRAINT ck_customer_concurrency_positive CHECK (concurrency IS NULL OR concurrency > 0)
)

CREATE INDEX ix_customer_created ON customer (created_at_us, id)

CREATE TABLE operator (
id VARCHAR(64) NOT NULL,
email VARCHAR(320) NOT NULL,
name VARCHAR(200) NOT NULL,
password_hash VARCHAR(256) NOT NULL,
role VARCHAR(16) NOT NULL,
theme VARCHAR(8) NOT NULL,
created_at_us BIGINT NOT NULL,
disabled_at_us BIGINT,
CONSTRAINT pk_operator PRIMARY KEY (id),
CONSTRAINT ck_operator_role_known CHECK (role IN ('viewer', 'operator', 'finance', 'admin')),
CONSTRAINT ck_operator_theme_known CHECK (theme IN ('system', 'light', 'dark')),
CONSTRAINT ck_operator_email_lower CHECK (email = lower(email)),
CONSTRAINT uq_operator_email UNIQUE (email)
)

CREATE TABLE login_failure (
bucket VARCHAR(32) NOT NULL,
failures BIGINT NOT NULL,
since_at_us BIGINT NOT NULL,
CONSTRAINT pk_login_failure PRIMARY KEY (bucket),
CONSTRAINT ck_login_failure_failures_not_negative CHECK (failures >= 0)
)

CREATE TABLE account (
id VARCHAR(400) NOT NULL,
kind VARCHAR(16) NOT NULL,
posted BIGINT NOT NULL,
held BIGINT NOT NULL,
overdraft BIGINT,
overdue BIGINT NOT NULL,
CONSTRAINT pk_account PRIMARY KEY (id),
CONSTRAINT ck_account_kind_known CHECK (kind IN ('wallet', 'asset', 'liability', 'income', 'contra', 'expense', 'equity')),
CONSTRAINT ck_account_available_within_overdraft CHECK (posted - held >= -overdraft - overdue),
CONSTRAINT ck_account_wallet_is_bounded CHECK (kind <> 'wallet' OR overdraft IS NOT NULL),
CONSTRAINT ck_account_held_not_negative CHECK (held >= 0),
CONSTRAINT ck_account_only_wallets_hold CHECK (kind = 'wallet' OR held = 0),
CONSTRAINT ck_account_overdraft_not_negative CHECK (overdraft IS NULL OR overdraft >= 0),
CONSTRAINT ck_account_overdue_not_negative CHECK (overdue >= 0)
)

CREATE TABLE ledger_batch (
seq BIGINT NOT NULL,
prev_sha256 VARCHAR(64) NOT NULL,
sha256 VARCHAR(64) NOT NULL,
txn_first BIGINT NOT NULL,
txn_last BIGINT NOT NULL,
CONSTRAINT pk_ledger_batch PRIMARY KEY (seq),
CONSTRAINT ck_ledger_batch_seq_positive CHECK (seq >= 1),
CONSTRAINT ck_ledger_batch_txns_in_order CHECK (txn_first >= 1 AND txn_last >= txn_first),
CONSTRAINT ck_ledger_batch_digests_whole CHECK (length(prev_sha256) = 64 AND length(sha256) = 64),
CONSTRAINT uq_ledger_batch_prev_sha256 UNIQUE (prev_sha256)
)

CREATE TRIGGER ledger_batch_no_update BEFORE UPDATE ON ledger_batch BEGIN SELECT RAISE(ABORT, 'ledger_batch is append-only'); END

CREATE TRIGGER ledger_batch_no_delete BEFORE DELETE ON ledger_batch BEGIN SELECT RAISE(ABORT, 'ledger_batch is append-only'); END

CREATE TABLE usage_event (
request_id VARCHAR(64) NOT NULL,
customer_id VARCHAR(64) NOT NULL,
key_id VARCHAR(64) NOT NULL,
model VARCHAR(200) NOT NULL,
tier_asked VARCHAR(16) NOT NULL,
tier_served VARCHAR(16) NOT NULL,
service_tier VARCHAR(32) NOT NULL,
provider_id VARCHAR(64) NOT NULL,
offer_id VARCHAR(300) NOT NULL,
deployment_id VARCHAR(200) NOT NULL,
is_emulated BOOLEAN NOT NULL,
price_book_id VARCHAR(64) NOT NULL,
requested_at_us BIGINT NOT NULL,
admitted_at_us BIGINT NOT NULL,
placed_at_us BIGINT NOT NULL,
first_token_at_us BIGINT,
finished_at_us BIGINT NOT NULL,
is_streamed BOOLEAN NOT NULL,
ending VARCHAR(32) NOT NULL,
finish_reason VARCHAR(100) NOT NULL,
late_cause VARCHAR(16) NOT NULL,
attempts INTEGER NOT NULL,
tokens_input BIGINT NOT NULL,
tokens_cached BIGINT NOT NULL,
tokens_cache_write BIGINT NOT NULL,
tokens_output BIGINT NOT NULL,
tokens_reasoning BIGINT NOT NULL,
tokens_good BIGINT NOT NULL,
is_attained BOOLEAN NOT NULL,
timeline BLOB,
lines JSON NOT NULL,
gross BIGINT NOT NULL,
adjustment BIGINT NOT NULL,
net BIGINT NOT NULL,
cost BIGINT NOT NULL,
quote_ceiling BIGINT NOT NULL,
held BIGINT NOT NULL,
usage_source VARCHAR(16) NOT NULL,
explanation JSON,
CONSTRAINT pk_usage_event PRIMARY KEY (request_id),
CONSTRAINT ck_usage_event_net_is_gross_less_adjustment CHECK (net = gross - adjustment),
CONSTRAINT ck_usage_event_amounts_not_negative CHECK (net >= 0 AND adjustment >= 0 AND cost >= 0),
CONSTRAINT ck_usage_event_held_within_quote CHECK (held >= 0 AND held <= quote_ceiling),
CONSTRAINT ck_usage_event_tokens_not_negative CHECK (tokens_input >= 0 AND tokens_cached >= 0 AND tokens_cache_write >= 0 AND tokens_output >= 0),
CONSTRAINT ck_usage_event_reasoning_within_output CHECK (tokens_reasoning >= 0 AND tokens_reasoning <= tokens_output),
CONSTRAINT ck_usage_event_good_within_output CHECK (tokens_good >= 0 AND tokens_good <= tokens_output),
CONSTRAINT ck_usage_event_usage_source_known CHECK (usage_source IN ('provider', 'counted'))
)

CREATE INDEX ix_usage_event_customer_id_finished_at_us ON usage_event (customer_id, finished_at_us)

CREATE INDEX ix_usage_event_finished_at_us ON usage_event (finished_at_us)

CREATE TRIGGER usage_event_no_update BEFORE UPDATE OF request_id, customer_id, key_id, model, tier_asked, tier_served, service_tier, provider_id, offer_id, deployment_id, is_emulated, price_book_id, requested_at_us, admitted_at_us, placed_at_us, first_token_at_us, finished_at_us, is_streamed, ending, finish_reason, late_cause, attempts, tokens_input, tokens_cached, tokens_cache_write, tokens_output, tokens_reasoning, tokens_good, is_attained, lines, gross, adjustment, net, cost, quote_ceiling, held, usage_source, explanation ON usage_event BEGIN SELECT RAISE(ABORT, 'usage_event is append-only'); END

CREATE TRIGGER usage_event_no_delete BEFORE DELETE ON usage_event BEGIN SELECT RAISE(ABORT, 'usage_event is append-only'); END

CREATE TRIGGER usage_event_timeline_only_erased BEFORE UPDATE OF timeline ON usage_event WHEN NEW.timeline IS NOT NULL BEGIN SELECT RAISE(ABORT, 'usage_event is append-only'); END

CREATE TABLE outbox (
id VARCHAR(200) NOT NULL,
topic VARCHAR(64) NOT NULL,
subject VARCHAR(200) NOT NULL,
payload JSON NOT NULL,
state VARCHAR(16) NOT NULL,
attempts INTEGER NOT NULL,
created_at_us BIGINT NOT NULL,
available_at_us BIGINT NOT NULL,
done_at_us BIGINT,
error VARCHAR(1000) NOT NULL,
CONSTRAINT pk_outbox PRIMARY KEY (id),
CONSTRAINT ck_outbox_state_known CHECK (state IN ('pending', 'sent', 'done', 'dead')),
CONSTRAINT ck_outbox_attempts_not_negative CHECK (attempts >= 0)
)

CREATE INDEX ix_outbox_open ON outbox (available_at_us) WHERE state IN ('pending', 'sent')

CREATE TABLE inbox (
source VARCHAR(32) NOT NULL,
id VARCHAR(200) NOT NULL,
kind VARCHAR(128) NOT NULL,
payload JSON NOT NULL,
received_at_us BIGINT NOT NULL,
handled_at_us BIGINT,
CONSTRAINT pk_inbox PRIMARY KEY (source, id)
)

CREATE INDEX ix_inbox_open ON inbox (received_at_us) WHERE handled_at_us IS NULL

CREATE TABLE deployment (
id VARCHAR(200) NOT NULL,
provider_id VARCHAR(64) NOT NULL,
deployment_id VARCHAR(120) NOT NULL,
kind VARCHAR(32) NOT NULL,
model VARCHAR(200) NOT NULL,
base_url VARCHAR(500) NOT NULL,
backend_model VARCHAR(512) NOT NULL,
base_model VARCHAR(512) NOT NULL,
speed JSON NOT NULL,
concurrency_max INTEGER NOT NULL,
context_max BIGINT NOT NULL,
cost_input BIGINT NOT NULL,
cost_cached BIGINT NOT NULL,
cost_cache_write BIGINT NOT NULL,
cost_output BIGINT NOT NULL,
is_owned BOOLEAN NOT NULL,
tiers JSON NOT NULL,
capabilities JSON NOT NULL,
is_emulated BOOLEAN NOT NULL,
label VARCHAR(300) NOT NULL,
api_key_env VARCHAR(128) NOT NULL,
state VARCHAR(16) NOT NULL,
version INTEGER NOT NULL,
created_at_us BIGINT NOT NULL,
updated_at_us BIGINT NOT NULL,
CONSTRAINT pk_deployment PRIMARY KEY (id),
CONSTRAINT uq_deployment_provider_id_deployment_id UNIQUE (provider_id, deployment_id),
CONSTRAINT ck_deployment_state_known CHECK (state IN ('enabled', 'draining', 'disabled')),
CONSTRAINT ck_deployment_kind_known CHECK (kind IN ('gpu_cluster', 'wafer_scale', 'tuned', 'local_engine', 'openai_compatible')),
CONSTRAINT ck_deployment_concurrency_max_positive CHECK (concurrency_max >= 1),
CONSTRAINT ck_deployment_context_max_positive CHECK (context_max >= 1),
CONSTRAINT ck_deployment_costs_not_negative CHECK (cost_input >= 0 AND cost_cached >= 0 AND cost_cache_write >= 0 AND cost_output >= 0),
CONSTRAINT ck_deployment_version_positive CHECK (version >= 1),
CONSTRAINT fk_deployment_provider_id_provider_account FOREIGN KEY(provider_id) REFERENCES provider_account (id)
)

CREATE INDEX ix_deployment_model ON deployment (model)

CREATE INDEX ix_deployment_provider_id ON deployment (provider_id)

CREATE TABLE api_key (
id VARCHAR(64) NOT NULL,
customer_id VARCHAR(64) NOT NULL,
label VARCHAR(200) NOT NULL,
secret_sha256 VARCHAR(64) NOT NULL,
prefix VARCHAR(16) NOT NULL,
rpm BIGINT,
tpm BIGINT,
concurrency BIGINT,
created_at_us BIGINT NOT NULL,
last_used_at_us BIGINT,
revoked_at_us BIGINT,
CONSTRAINT pk_api_key PRIMARY KEY (id),
CONSTRAINT ck_api_key_rpm_positive CHECK (rpm IS NULL OR rpm > 0),
CONSTRAINT ck_api_key_tpm_positive CHECK (tpm IS NULL OR tpm > 0),
CONSTRAINT ck_api_key_concurrency_positive CHECK (concurrency IS NULL OR concurrency > 0),
CONSTRAINT ck_api_key_secret_is_a_digest CHECK (length(secret_sha256) = 64),
CONSTRAINT fk_api_key_customer_id_customer FOREIGN KEY(customer_id) REFERENCES customer (id),
CONSTRAINT uq_api_key_secret_sha256 UNIQUE (secret_sha256)
)

CREATE INDEX ix_api_key_customer_id ON api_key (customer_id)

CREATE TABLE admin_token (
id VARCHAR(64) NOT NULL,
operator_id VARCHAR(64) NOT NULL,
label VARCHAR(200) NOT NULL,
token_sha256 VARCHAR(64) NOT NULL,
prefix VARCHAR(16) NOT NULL,
created_at_us BIGINT NOT NULL,
last_used_at_us BIGINT,
revoked_at_us BIGINT,
CONSTRAINT pk_admin_token PRIMARY KEY (id),
CONSTRAINT ck_admin_token_token_is_a_digest CHECK (length(token_sha256) = 64),
CONSTRAINT fk_admin_token_operator_id_operator FOREIGN KEY(operator_id) REFERENCES operator (id),
CONSTRAINT uq_admin_token_token_sha256 UNIQUE (token_sha256)
)

CREATE INDEX ix_admin_token_operator_id ON admin_token (operator_id)

CREATE TABLE operator_session (
id_sha256 VARCHAR(64) NOT NULL,
operator_id VARCHAR(64) NOT NULL,
csrf VARCHAR(64) NOT NULL,
ip VARCHAR(64) NOT NULL,
created_at_us BIGINT NOT NULL,
seen_at_us BIGINT NOT NULL,
CONSTRAINT pk_operator_session PRIMARY KEY (id_sha256),
CONSTRAINT ck_operator_session_id_is_a_digest CHECK (length(id_sha256) = 64),
CONSTRAINT fk_operator_session_operator_id_operator FOREIGN KEY(operator_id) REFERENCES operator (id)
)

CREATE INDEX ix_operator_session_operator_id ON operator_session (operator_id)

CREATE INDEX ix_operator_session_seen_at_us ON operator_session (seen_at_us)

CREATE TABLE hold (
id VARCHAR(64) NOT NULL,
account_id VARCHAR(400) NOT NULL,
customer_id VARCHAR(64) NOT NULL,
state VARCHAR(16) NOT NULL,
amount BIGINT NOT NULL,
ceiling BIGINT NOT NULL,
captured BIGINT NOT NULL,
price_book_id VARCHAR(64) NOT NULL,
model VARCHAR(200) NOT NULL,
tier VARCHAR(16) NOT NULL,
created_at_us BIGINT NOT NULL,
expires_at_us BIGINT NOT NULL,
resolved_at_us BIGINT,
reason VARCHAR(200) NOT NULL,
CONSTRAINT pk_hold PRIMARY KEY (id),
CONSTRAINT ck_hold_state_known CHECK (state IN ('pending', 'captured', 'void', 'expired')),
CONSTRAINT ck_hold_amount_within_ceiling CHECK (amount >= 0 AND amount <= ceiling),
CONSTRAINT ck_hold_captured_within_amount CHECK (captured >= 0 AND captured <= amount),
CONSTRAINT ck_hold_only_captured_holds_pay CHECK (state = 'captured' OR captured = 0),
CONSTRAINT ck_hold_resolved_when_not_pending CHECK ((state = 'pending') = (resolved_at_us IS NULL)),
CONSTRAINT fk_hold_account_id_account FOREIGN KEY(account_id) REFERENCES account (id)
)

CREATE INDEX ix_hold_pending_expiry ON hold (expires_at_us) WHERE state = 'pending'

CREATE TABLE journal_txn (
id BIGINT NOT NULL,
idem VARCHAR(200) NOT NULL,
kind VARCHAR(32) NOT NULL,
subject VARCHAR(200) NOT NULL,
batch_seq BIGINT NOT NULL,
booked_at_us BIGINT NOT NULL,
effective_at_us BIGINT NOT NULL,
price_book_id VARCHAR(64),
memo VARCHAR(1000) NOT NULL,
CONSTRAINT pk_journal_txn PRIMARY KEY (id),
CONSTRAINT ck_journal_txn_id_positive CHECK (id >= 1),
CONSTRAINT uq_journal_txn_idem UNIQUE (idem),
CONSTRAINT fk_journal_txn_batch_seq_ledger_batch FOREIGN KEY(batch_seq) REFERENCES ledger_batch (seq)
)

CREATE INDEX ix_journal_txn_booked_at_us ON journal_txn (booked_at_us)

CREATE TRIGGER journal_txn_no_update BEFORE UPDATE ON journal_txn BEGIN SELECT RAISE(ABORT, 'journal_txn is append-only'); END

CREATE TRIGGER journal_txn_no_delete BEFORE DELETE ON journal_txn BEGIN SELECT RAISE(ABORT, 'journal_txn is append-only'); END

CREATE TABLE entry (
txn_id BIGINT NOT NULL,
leg INTEGER NOT NULL,
account_id VARCHAR(400) NOT NULL,
amount BIGINT NOT NULL,
CONSTRAINT pk_entry PRIMARY KEY (txn_id, leg),
CONSTRAINT ck_entry_amount_not_zero CHECK (amount <> 0),
CONSTRAINT ck_entry_leg_not_negative CHECK (leg >= 0),
CONSTRAINT fk_entry_txn_id_journal_txn FOREIGN KEY(txn_id) REFERENCES journal_txn (id),
CONSTRAINT fk_entry_account_id_account FOREIGN KEY(account_id) REFERENCES account (id)
)

CREATE INDEX ix_entry_account_id_txn_id ON entry (account_id, txn_id)

CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'entry is append-only'); END

CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'entry is append-only'); END
