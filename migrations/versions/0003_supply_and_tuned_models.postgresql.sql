CREATE TABLE provider_access (
provider_id VARCHAR(64) NOT NULL,
auth_header VARCHAR(64),
auth_scheme VARCHAR(32),
headers JSON NOT NULL,
updated_at_us BIGINT NOT NULL,
CONSTRAINT pk_provider_access PRIMARY KEY (provider_id),
CONSTRAINT fk_provider_access_provider_id_provider_account FOREIGN KEY(provider_id) REFERENCES provider_account (id)
)

CREATE TABLE provider_credential (
id VARCHAR(64) NOT NULL,
provider_id VARCHAR(64) NOT NULL,
sealed VARCHAR(8192) NOT NULL,
prefix VARCHAR(8) NOT NULL,
fingerprint VARCHAR(32) NOT NULL,
created_at_us BIGINT NOT NULL,
refused_at_us BIGINT,
refusal VARCHAR(300) NOT NULL,
retired_at_us BIGINT,
CONSTRAINT pk_provider_credential PRIMARY KEY (id),
CONSTRAINT ck_provider_credential_sealed_not_empty CHECK (length(sealed) > 0),
CONSTRAINT fk_provider_credential_provider_id_provider_account FOREIGN KEY(provider_id) REFERENCES provider_account (id)
)

CREATE UNIQUE INDEX uq_provider_credential_in_use ON provider_credential (provider_id) WHERE retired_at_us IS NULL

CREATE TABLE provider_contract (
id VARCHAR(64) NOT NULL,
provider_id VARCHAR(64) NOT NULL,
model VARCHAR(200) NOT NULL,
basis VARCHAR(8) NOT NULL,
rate_input BIGINT NOT NULL,
rate_cached BIGINT NOT NULL,
rate_cache_write BIGINT NOT NULL,
rate_output BIGINT NOT NULL,
usd_per_hour BIGINT NOT NULL,
promise_ttft_us BIGINT,
promise_tpot_us BIGINT,
rpm BIGINT,
tpm BIGINT,
requests_max BIGINT,
tokens_max BIGINT,
starts_at_us BIGINT NOT NULL,
ends_at_us BIGINT,
note VARCHAR(1000) NOT NULL,
created_at_us BIGINT NOT NULL,
CONSTRAINT pk_provider_contract PRIMARY KEY (id),
CONSTRAINT ck_provider_contract_basis_known CHECK (basis IN ('token', 'hour')),
CONSTRAINT ck_provider_contract_rates_not_negative CHECK (rate_input >= 0 AND rate_cached >= 0 AND rate_cache_write >= 0 AND rate_output >= 0 AND usd_per_hour >= 0),
CONSTRAINT ck_provider_contract_term_not_negative CHECK (ends_at_us IS NULL OR ends_at_us >= starts_at_us),
CONSTRAINT fk_provider_contract_provider_id_provider_account FOREIGN KEY(provider_id) REFERENCES provider_account (id)
)

CREATE INDEX ix_provider_contract_provider_id ON provider_contract (provider_id, starts_at_us)

CREATE TABLE tuned_model (
id VARCHAR(64) NOT NULL,
name VARCHAR(180) NOT NULL,
customer_id VARCHAR(64) NOT NULL,
base_model VARCHAR(180) NOT NULL,
adapter VARCHAR(512) NOT NULL,
source VARCHAR(1000) NOT NULL,
serving VARCHAR(16) NOT NULL,
rpm_wanted BIGINT NOT NULL,
concurrency_wanted INTEGER NOT NULL,
rpm_max BIGINT,
concurrency_max INTEGER,
slowdown_ppm BIGINT NOT NULL,
cost_ppm BIGINT NOT NULL,
state VARCHAR(16) NOT NULL,
reason VARCHAR(1000) NOT NULL,
version INTEGER NOT NULL,
created_at_us BIGINT NOT NULL,
updated_at_us BIGINT NOT NULL,
CONSTRAINT pk_tuned_model PRIMARY KEY (id),
CONSTRAINT ck_tuned_model_state_known CHECK (state IN ('requested', 'approved', 'refused', 'withdrawn')),
CONSTRAINT ck_tuned_model_serving_known CHECK (serving IN ('shared', 'dedicated')),
CONSTRAINT ck_tuned_model_approved_has_caps CHECK (state <> 'approved' OR (rpm_max >= 1 AND concurrency_max >= 1)),
CONSTRAINT ck_tuned_model_basis_in_range CHECK (slowdown_ppm >= 1000000 AND cost_ppm >= 0),
CONSTRAINT ck_tuned_model_version_positive CHECK (version >= 1),
CONSTRAINT uq_tuned_model_name UNIQUE (name),
CONSTRAINT fk_tuned_model_customer_id_customer FOREIGN KEY(customer_id) REFERENCES customer (id)
)

CREATE INDEX ix_tuned_model_customer_id ON tuned_model (customer_id)

CREATE TABLE usage_dispute (
request_id VARCHAR(64) NOT NULL,
provider_id VARCHAR(64) NOT NULL,
offer_id VARCHAR(300) NOT NULL,
at_us BIGINT NOT NULL,
input_reported BIGINT NOT NULL,
output_reported BIGINT NOT NULL,
input_most BIGINT NOT NULL,
output_least BIGINT NOT NULL,
output_most BIGINT NOT NULL,
output_billed BIGINT NOT NULL,
reason VARCHAR(500) NOT NULL,
CONSTRAINT pk_usage_dispute PRIMARY KEY (request_id)
)

CREATE INDEX ix_usage_dispute_provider_id ON usage_dispute (provider_id, at_us)

CREATE TRIGGER usage_dispute_no_update BEFORE UPDATE ON usage_dispute FOR EACH ROW EXECUTE FUNCTION goodput_refuse_change()

CREATE TRIGGER usage_dispute_no_delete BEFORE DELETE ON usage_dispute FOR EACH ROW EXECUTE FUNCTION goodput_refuse_change()

CREATE TRIGGER usage_dispute_no_truncate BEFORE TRUNCATE ON usage_dispute FOR EACH STATEMENT EXECUTE FUNCTION goodput_refuse_change()

CREATE INDEX ix_usage_event_provider_id_finished_at_us ON usage_event (provider_id, finished_at_us)
