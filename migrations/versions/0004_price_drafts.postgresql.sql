ALTER TABLE price_book ADD COLUMN origin VARCHAR(16) DEFAULT 'derived' NOT NULL

ALTER TABLE price_book ADD CONSTRAINT ck_price_book_origin_known CHECK (origin IN ('derived', 'operator', 'rollback', 'repricer'))

CREATE TABLE price_book_withdrawal (
sequence BIGINT NOT NULL,
book_id VARCHAR(64) NOT NULL,
withdrawn_at_us BIGINT NOT NULL,
withdrawn_by VARCHAR(200) NOT NULL,
reason VARCHAR(1000) NOT NULL,
CONSTRAINT pk_price_book_withdrawal PRIMARY KEY (sequence),
CONSTRAINT ck_price_book_withdrawal_sequence_positive CHECK (sequence >= 1),
CONSTRAINT uq_price_book_withdrawal_book_id UNIQUE (book_id),
CONSTRAINT fk_price_book_withdrawal_book_id_price_book FOREIGN KEY(book_id) REFERENCES price_book (id)
)

CREATE TRIGGER price_book_withdrawal_no_update BEFORE UPDATE ON price_book_withdrawal FOR EACH ROW EXECUTE FUNCTION goodput_refuse_change()

CREATE TRIGGER price_book_withdrawal_no_delete BEFORE DELETE ON price_book_withdrawal FOR EACH ROW EXECUTE FUNCTION goodput_refuse_change()

CREATE TRIGGER price_book_withdrawal_no_truncate BEFORE TRUNCATE ON price_book_withdrawal FOR EACH STATEMENT EXECUTE FUNCTION goodput_refuse_change()

CREATE TABLE price_draft (
id VARCHAR(64) NOT NULL,
base_book_id VARCHAR(64),
title VARCHAR(200) NOT NULL,
origin VARCHAR(16) NOT NULL,
state VARCHAR(16) NOT NULL,
version INTEGER NOT NULL,
record JSON NOT NULL,
created_by VARCHAR(200) NOT NULL,
created_at_us BIGINT NOT NULL,
updated_at_us BIGINT NOT NULL,
published_book_id VARCHAR(64),
CONSTRAINT pk_price_draft PRIMARY KEY (id),
CONSTRAINT ck_price_draft_origin_known CHECK (origin IN ('derived', 'operator', 'rollback', 'repricer')),
CONSTRAINT ck_price_draft_state_known CHECK (state IN ('open', 'published', 'discarded')),
CONSTRAINT ck_price_draft_version_positive CHECK (version >= 1),
CONSTRAINT ck_price_draft_published_as_a_book CHECK ((state = 'published') = (published_book_id IS NOT NULL)),
CONSTRAINT fk_price_draft_base_book_id_price_book FOREIGN KEY(base_book_id) REFERENCES price_book (id),
CONSTRAINT uq_price_draft_published_book_id UNIQUE (published_book_id),
CONSTRAINT fk_price_draft_published_book_id_price_book FOREIGN KEY(published_book_id) REFERENCES price_book (id)
)

CREATE INDEX ix_price_draft_state ON price_draft (state, id)
