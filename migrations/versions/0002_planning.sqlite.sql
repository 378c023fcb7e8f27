CREATE TABLE priced_model (
sequence BIGINT NOT NULL,
public_name VARCHAR(200) NOT NULL,
profiled_as VARCHAR(200) NOT NULL,
deployment_ids JSON NOT NULL,
isl BIGINT,
osl BIGINT,
serving VARCHAR(16) NOT NULL,
adder JSON NOT NULL,
tiers JSON NOT NULL,
premium_deployment_id VARCHAR(200) NOT NULL,
is_priced BOOLEAN NOT NULL,
effective_at_us BIGINT NOT NULL,
created_at_us BIGINT NOT NULL,
actor VARCHAR(320) NOT NULL,
reason VARCHAR(1000) NOT NULL,
CONSTRAINT pk_priced_model PRIMARY KEY (sequence),
CONSTRAINT ck_priced_model_serving_known CHECK (serving IN ('none', 'shared', 'dedicated')),
CONSTRAINT ck_priced_model_class_whole CHECK ((isl IS NULL) = (osl IS NULL)),
CONSTRAINT ck_priced_model_class_positive CHECK (isl IS NULL OR (isl >= 1 AND osl >= 1))
)

CREATE INDEX ix_priced_model_public_name ON priced_model (public_name, effective_at_us)

CREATE TRIGGER priced_model_no_update BEFORE UPDATE ON priced_model BEGIN SELECT RAISE(ABORT, 'priced_model is append-only'); END

CREATE TRIGGER priced_model_no_delete BEFORE DELETE ON priced_model BEGIN SELECT RAISE(ABORT, 'priced_model is append-only'); END

CREATE TABLE pricing_input (
sequence BIGINT NOT NULL,
subject VARCHAR(300) NOT NULL,
name VARCHAR(64) NOT NULL,
value JSON NOT NULL,
source VARCHAR(16) NOT NULL,
is_pinned BOOLEAN NOT NULL,
evidence JSON NOT NULL,
effective_at_us BIGINT NOT NULL,
created_at_us BIGINT NOT NULL,
actor VARCHAR(320) NOT NULL,
reason VARCHAR(1000) NOT NULL,
once VARCHAR(64) NOT NULL,
CONSTRAINT pk_pricing_input PRIMARY KEY (sequence),
CONSTRAINT ck_pricing_input_source_known CHECK (source IN ('default', 'operator', 'metered')),
CONSTRAINT ck_pricing_input_never_backdated CHECK (effective_at_us >= created_at_us),
CONSTRAINT uq_pricing_input_subject_name_once UNIQUE (subject, name, once)
)

CREATE INDEX ix_pricing_input_subject ON pricing_input (subject, name, effective_at_us)

CREATE TRIGGER pricing_input_no_update BEFORE UPDATE ON pricing_input BEGIN SELECT RAISE(ABORT, 'pricing_input is append-only'); END

CREATE TRIGGER pricing_input_no_delete BEFORE DELETE ON pricing_input BEGIN SELECT RAISE(ABORT, 'pricing_input is append-only'); END

CREATE TABLE planning_state (
name VARCHAR(64) NOT NULL,
version INTEGER NOT NULL,
document JSON NOT NULL,
updated_at_us BIGINT NOT NULL,
CONSTRAINT pk_planning_state PRIMARY KEY (name),
CONSTRAINT ck_planning_state_version_positive CHECK (version >= 1)
)

CREATE TABLE plan_proposal (
sequence BIGINT NOT NULL,
document JSON NOT NULL,
since_us BIGINT NOT NULL,
until_us BIGINT NOT NULL,
created_at_us BIGINT NOT NULL,
actor VARCHAR(320) NOT NULL,
CONSTRAINT pk_plan_proposal PRIMARY KEY (sequence),
CONSTRAINT ck_plan_proposal_period_not_empty CHECK (since_us < until_us)
)

CREATE TRIGGER plan_proposal_no_update BEFORE UPDATE ON plan_proposal BEGIN SELECT RAISE(ABORT, 'plan_proposal is append-only'); END

CREATE TRIGGER plan_proposal_no_delete BEFORE DELETE ON plan_proposal BEGIN SELECT RAISE(ABORT, 'plan_proposal is append-only'); END
