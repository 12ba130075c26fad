//! Tables that have no row here, since there is nothing of their kind: indexes, constraints, triggers, rules, …

/// Of `pg_catalog`.
pub(super) const CATALOGUE: &[(&str, &str)] = &[
    ("pg_aggregate", "aggfnoid:o aggkind:c aggnumdirectargs:2 aggtransfn:t"),
    ("pg_amop", "oid:o amopfamily:o amoplefttype:o amoprighttype:o amopstrategy:2 amopopr:o amopmethod:o"),
    ("pg_attrdef", "oid:o adrelid:o adnum:2 adbin:t"),
    ("pg_auth_members", "oid:o roleid:o member:o grantor:o admin_option:b inherit_option:b set_option:b"),
    ("pg_available_extensions", "name:n default_version:t installed_version:t comment:t"),
    ("pg_cast", "oid:o castsource:o casttarget:o castfunc:o castcontext:c castmethod:c"),
    (
        "pg_collation",
        "oid:o collname:n collnamespace:o collowner:o collprovider:c collisdeterministic:b collencoding:4 collcollate:t collctype:t colliculocale:t collicurules:t collversion:t",
    ),
    (
        "pg_constraint",
        "oid:o conname:n connamespace:o contype:c condeferrable:b condeferred:b convalidated:b conrelid:o contypid:o conindid:o conparentid:o confrelid:o confupdtype:c confdeltype:c confmatchtype:c conislocal:b coninhcount:2 connoinherit:b conkey:I confkey:I conpfeqop:O conppeqop:O conffeqop:O confdelsetcols:I conexclop:O conbin:t",
    ),
    (
        "pg_conversion",
        "oid:o conname:n connamespace:o conowner:o conforencoding:4 contoencoding:4 conproc:t condefault:b",
    ),
    ("pg_db_role_setting", "setdatabase:o setrole:o setconfig:T"),
    ("pg_default_acl", "oid:o defaclrole:o defaclnamespace:o defaclobjtype:c defaclacl:T"),
    ("pg_depend", "classid:o objid:o objsubid:4 refclassid:o refobjid:o refobjsubid:4 deptype:c"),
    ("pg_enum", "oid:o enumtypid:o enumsortorder:f enumlabel:n"),
    ("pg_event_trigger", "oid:o evtname:n evtevent:n evtowner:o evtfoid:o evtenabled:c evttags:T"),
    (
        "pg_extension",
        "oid:o extname:n extowner:o extnamespace:o extrelocatable:b extversion:t extconfig:O extcondition:T",
    ),
    (
        "pg_foreign_data_wrapper",
        "oid:o fdwname:n fdwowner:o fdwhandler:o fdwvalidator:o fdwacl:T fdwoptions:T",
    ),
    ("pg_foreign_server", "oid:o srvname:n srvowner:o srvfdw:o srvtype:t srvversion:t srvacl:T srvoptions:T"),
    ("pg_foreign_table", "ftrelid:o ftserver:o ftoptions:T"),
    (
        "pg_index",
        "indexrelid:o indrelid:o indnatts:2 indnkeyatts:2 indisunique:b indnullsnotdistinct:b indisprimary:b indisexclusion:b indimmediate:b indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b indisreplident:b indkey:I indcollation:O indclass:O indoption:I indexprs:t indpred:t",
    ),
    ("pg_indexes", "schemaname:n tablename:n indexname:n tablespace:n indexdef:t"),
    ("pg_inherits", "inhrelid:o inhparent:o inhseqno:4 inhdetachpending:b"),
    ("pg_largeobject_metadata", "oid:o lomowner:o lomacl:T"),
    (
        "pg_language",
        "oid:o lanname:n lanowner:o lanispl:b lanpltrusted:b lanplcallfoid:o laninline:o lanvalidator:o lanacl:T",
    ),
    (
        "pg_locks",
        "locktype:t database:o relation:o pid:4 mode:t granted:b virtualtransaction:t transactionid:o",
    ),
    (
        "pg_matviews",
        "schemaname:n matviewname:n matviewowner:n tablespace:n hasindexes:b ispopulated:b definition:t",
    ),
    (
        "pg_opclass",
        "oid:o opcmethod:o opcname:n opcnamespace:o opcowner:o opcfamily:o opcintype:o opcdefault:b opckeytype:o",
    ),
    (
        "pg_operator",
        "oid:o oprname:n oprnamespace:o oprowner:o oprkind:c oprcanmerge:b oprcanhash:b oprleft:o oprright:o oprresult:o oprcom:o oprnegate:o oprcode:t oprrest:t oprjoin:t",
    ),
    ("pg_opfamily", "oid:o opfmethod:o opfname:n opfnamespace:o opfowner:o"),
    (
        "pg_partitioned_table",
        "partrelid:o partstrat:c partnatts:2 partdefid:o partattrs:I partclass:O partcollation:O partexprs:t",
    ),
    ("pg_policies", "schemaname:n tablename:n policyname:n permissive:t roles:T cmd:t qual:t with_check:t"),
    ("pg_policy", "oid:o polname:n polrelid:o polcmd:c polpermissive:b polroles:O polqual:t polwithcheck:t"),
    ("pg_prepared_xacts", "transaction:o gid:t owner:n database:n"),
    (
        "pg_publication",
        "oid:o pubname:n pubowner:o puballtables:b pubinsert:b pubupdate:b pubdelete:b pubtruncate:b pubviaroot:b",
    ),
    ("pg_publication_namespace", "oid:o pnpubid:o pnnspid:o"),
    ("pg_publication_rel", "oid:o prpubid:o prrelid:o prqual:t prattrs:I"),
    ("pg_publication_tables", "pubname:n schemaname:n tablename:n"),
    (
        "pg_range",
        "rngtypid:o rngsubtype:o rngmultitypid:o rngcollation:o rngsubopc:o rngcanonical:t rngsubdiff:t",
    ),
    (
        "pg_replication_slots",
        "slot_name:n plugin:n slot_type:t datoid:o database:n temporary:b active:b active_pid:4",
    ),
    ("pg_rewrite", "oid:o rulename:n ev_class:o ev_type:c ev_enabled:c is_instead:b ev_qual:t ev_action:t"),
    ("pg_rules", "schemaname:n tablename:n rulename:n definition:t"),
    ("pg_seclabel", "objoid:o classoid:o objsubid:4 provider:t label:t"),
    (
        "pg_sequence",
        "seqrelid:o seqtypid:o seqstart:8 seqincrement:8 seqmax:8 seqmin:8 seqcache:8 seqcycle:b",
    ),
    (
        "pg_sequences",
        "schemaname:n sequencename:n sequenceowner:n data_type:t start_value:8 min_value:8 max_value:8 increment_by:8 cycle:b cache_size:8 last_value:8",
    ),
    ("pg_shdepend", "dbid:o classid:o objid:o objsubid:4 refclassid:o refobjid:o deptype:c"),
    ("pg_shdescription", "objoid:o classoid:o description:t"),
    (
        "pg_stat_activity",
        "datid:o datname:n pid:4 usesysid:o usename:n application_name:t client_addr:t client_port:4 state:t query:t backend_type:t",
    ),
    ("pg_stat_all_tables", "relid:o schemaname:n relname:n seq_scan:8 n_live_tup:8 n_dead_tup:8"),
    (
        "pg_stat_database",
        "datid:o datname:n numbackends:4 xact_commit:8 xact_rollback:8 blks_read:8 blks_hit:8",
    ),
    ("pg_stat_user_tables", "relid:o schemaname:n relname:n seq_scan:8 n_live_tup:8 n_dead_tup:8"),
    (
        "pg_statistic_ext",
        "oid:o stxrelid:o stxname:n stxnamespace:o stxowner:o stxstattarget:4 stxkeys:I stxkind:T stxexprs:t",
    ),
    ("pg_stats", "schemaname:n tablename:n attname:n inherited:b null_frac:f avg_width:4 n_distinct:f"),
    (
        "pg_subscription",
        "oid:o subdbid:o subname:n subowner:o subenabled:b subconninfo:t subslotname:n subpublications:T",
    ),
    ("pg_transform", "oid:o trftype:o trflang:o trffromsql:t trftosql:t"),
    (
        "pg_trigger",
        "oid:o tgrelid:o tgparentid:o tgname:n tgfoid:o tgtype:2 tgenabled:c tgisinternal:b tgconstrrelid:o tgconstrindid:o tgconstraint:o tgdeferrable:b tginitdeferred:b tgnargs:2 tgattr:I tgargs:t tgqual:t tgoldtable:n tgnewtable:n",
    ),
    ("pg_ts_config", "oid:o cfgname:n cfgnamespace:o cfgowner:o cfgparser:o"),
    ("pg_ts_dict", "oid:o dictname:n dictnamespace:o dictowner:o dicttemplate:o dictinitoption:t"),
    ("pg_ts_parser", "oid:o prsname:n prsnamespace:o"),
    ("pg_ts_template", "oid:o tmplname:n tmplnamespace:o"),
    ("pg_user_mappings", "umid:o srvid:o srvname:n umuser:o usename:n umoptions:T"),
    ("pg_user_mapping", "oid:o umuser:o umserver:o umoptions:T"),
    ("pg_views", "schemaname:n viewname:n viewowner:n definition:t"),
];

/// Of `information_schema`.
pub(super) const INFORMATION: &[(&str, &str)] = &[
    ("check_constraints", "constraint_catalog:n constraint_schema:n constraint_name:n check_clause:t"),
    (
        "constraint_column_usage",
        "table_catalog:n table_schema:n table_name:n column_name:n constraint_catalog:n constraint_schema:n constraint_name:n",
    ),
    (
        "constraint_table_usage",
        "table_catalog:n table_schema:n table_name:n constraint_catalog:n constraint_schema:n constraint_name:n",
    ),
    (
        "key_column_usage",
        "constraint_catalog:n constraint_schema:n constraint_name:n table_catalog:n table_schema:n table_name:n column_name:n ordinal_position:4 position_in_unique_constraint:4",
    ),
    (
        "referential_constraints",
        "constraint_catalog:n constraint_schema:n constraint_name:n unique_constraint_catalog:n unique_constraint_schema:n unique_constraint_name:n match_option:t update_rule:t delete_rule:t",
    ),
    (
        "sequences",
        "sequence_catalog:n sequence_schema:n sequence_name:n data_type:t start_value:t minimum_value:t maximum_value:t increment:t cycle_option:t",
    ),
    (
        "table_constraints",
        "constraint_catalog:n constraint_schema:n constraint_name:n table_catalog:n table_schema:n table_name:n constraint_type:t is_deferrable:t initially_deferred:t enforced:t",
    ),
    (
        "triggers",
        "trigger_catalog:n trigger_schema:n trigger_name:n event_manipulation:t event_object_catalog:n event_object_schema:n event_object_table:n action_statement:t action_timing:t",
    ),
    (
        "views",
        "table_catalog:n table_schema:n table_name:n view_definition:t check_option:t is_updatable:t is_insertable_into:t",
    ),
];
