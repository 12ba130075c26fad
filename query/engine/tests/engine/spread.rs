//! Questions that others answer with the engine: which are theirs, and what becomes of them when they can't.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parking_lot::Mutex;
use weir_query::Engine;
use weir_query::spread::{self, Counts, Failure, Rows, Spread, SpreadError};

use super::{World, text};

const QUESTION: &str = "SELECT server_port, count(*), sum(client_bytes) FROM flows GROUP BY 1 ORDER BY 1";

/// What others do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Do {
    Answer,
    NotThere,
    BreakOff,
    Fail,
}

/// Others, who work in this process.
#[derive(Debug)]
struct Others {
    what: Do,
    least_bytes: u64,
    runtime: Arc<RuntimeEnv>,
    asked: Mutex<Vec<Arc<dyn ExecutionPlan>>>,
}

impl Spread for Others {
    fn parts(&self) -> usize {
        3
    }

    fn least_bytes(&self) -> u64 {
        self.least_bytes
    }

    fn settings(&self, config: SessionConfig) -> SessionConfig {
        config
    }

    fn rows(&self, plan: Arc<dyn ExecutionPlan>, config: SessionConfig) -> Rows {
        self.asked.lock().push(plan.clone());
        let state = spread::state(config, self.runtime.clone());
        let rows = || execute_stream(plan.clone(), Arc::new(TaskContext::from(&state))).unwrap();
        let gone = || Err(SpreadError::Nobody("gone".to_owned()));
        let own = |err: datafusion::error::DataFusionError| SpreadError::Nobody(err.to_string());
        match self.what {
            Do::Answer => rows().map_err(own).boxed(),
            Do::NotThere => futures::stream::iter([gone()]).boxed(),
            Do::BreakOff => rows().map_err(own).chain(futures::stream::iter([gone()])).boxed(),
            Do::Fail => {
                let error = datafusion::error::DataFusionError::Execution("it is wrong".to_owned());
                let failure = Failure::of(&error, vec![Path::from("tables/flows/a.parquet")]);
                futures::stream::iter([Err(SpreadError::Failed(failure))]).boxed()
            }
        }
    }
}

fn with(world: &World, what: Do, least_bytes: u64) -> (Engine, Arc<Others>) {
    let runtime = Arc::new(RuntimeEnv::default());
    let store = spread::store_url();
    runtime.register_object_store(AsRef::<url::Url>::as_ref(&store), world.store.objects());
    let others = Arc::new(Others { what, least_bytes, runtime, asked: Mutex::default() });
    (world.engine.clone().spreading(others.clone()), others)
}

async fn rows(engine: &Engine, question: &str) -> Vec<String> {
    text(&engine.collect(question, usize::MAX).await.unwrap().batches)
}

#[tokio::test]
async fn others_get_the_files_and_the_newest_rows() {
    let world = World::new().await.with_flows().await;
    let alone = world.rows(QUESTION).await;
    let (engine, others) = with(&world, Do::Answer, 1);
    assert_eq!(rows(&engine, QUESTION).await, alone);
    assert_eq!(engine.spread(), Some(Counts { answered: 1, ..Counts::default() }));
    let plan = others.asked.lock()[0].clone();
    assert!(spread::bytes_read(&plan).unwrap() > 0);
    let shown = datafusion::physical_plan::displayable(plan.as_ref()).indent(true).to_string();
    assert!(!shown.contains("CompactExec"), "nobody else knows it: {shown}");
    // Plans say all there is to say: they can be written down.
    let codec = datafusion_proto::physical_plan::DefaultPhysicalExtensionCodec {};
    datafusion_proto::bytes::physical_plan_to_bytes_with_extension_codec(plan, &codec).unwrap();
}

#[tokio::test]
async fn what_is_small_or_of_this_process_stays_here() {
    let world = World::new().await.with_flows().await;
    let (engine, others) = with(&world, Do::NotThere, 1 << 30);
    rows(&engine, QUESTION).await;
    let (every, of_every) = with(&world, Do::NotThere, 0);
    for question in [
        "SELECT count(*) FROM flows",
        "SELECT count(*) FROM drops",
        "SELECT * FROM generate_series(1, 3)",
        "SELECT table_name FROM information_schema.tables ORDER BY 1 LIMIT 1",
        "EXPLAIN SELECT * FROM flows WHERE client_bytes > 3",
        "EXPLAIN ANALYZE SELECT * FROM flows WHERE client_bytes > 3",
        "SELECT 1",
    ] {
        rows(&every, question).await;
        assert_eq!(of_every.asked.lock().len(), 0, "{question}");
    }
    assert_eq!(others.asked.lock().len(), 0);
    assert_eq!((engine.spread(), every.spread()), (Some(Counts::default()), Some(Counts::default())));
}

#[tokio::test]
async fn who_is_not_there_or_goes_costs_no_wrong_answer() {
    let world = World::new().await.with_flows().await;
    let alone = world.rows(QUESTION).await;
    let (engine, _) = with(&world, Do::NotThere, 1);
    assert_eq!(rows(&engine, QUESTION).await, alone);
    assert_eq!(engine.spread(), Some(Counts { alone: 1, ..Counts::default() }));

    let (engine, _) = with(&world, Do::BreakOff, 1);
    let mut answer = engine.sql(QUESTION).await.unwrap();
    let first: RecordBatch = answer.next().await.unwrap().unwrap();
    assert!(first.num_rows() > 0);
    let error = loop {
        match answer.next().await.expect("it must not end as if it were whole") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, "data.changed", "{error:?}");
    assert_eq!(engine.spread(), Some(Counts { broken_off: 1, ..Counts::default() }));

    let (engine, _) = with(&world, Do::Fail, 1);
    let error = engine.collect(QUESTION, usize::MAX).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), ("sql.invalid", "it is wrong"));
}

#[tokio::test]
async fn a_plan_that_writes_or_reads_elsewhere_is_not_one_of_the_stores() {
    use datafusion::datasource::listing::PartitionedFile;
    use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
    use datafusion::datasource::source::DataSourceExec;
    use datafusion::execution::object_store::ObjectStoreUrl;

    let schema = Arc::new(arrow::datatypes::Schema::empty());
    let file = |url: ObjectStoreUrl| -> Arc<dyn ExecutionPlan> {
        let source = Arc::new(ParquetSource::new(schema.clone()));
        let config = FileScanConfigBuilder::new(url, source).with_file(PartitionedFile::new("a", 7)).build();
        DataSourceExec::from_data_source(config)
    };
    assert_eq!(spread::bytes_read(&file(spread::store_url())), Some(7));
    assert_eq!(spread::bytes_read(&file(ObjectStoreUrl::local_filesystem())), None);
    let writing = SessionContext::new().sql("COPY (VALUES (1)) TO 'never-run.parquet'").await.unwrap();
    assert_eq!(spread::bytes_read(&writing.create_physical_plan().await.unwrap()), None);
    let memory = MemorySourceConfig::try_new(&[vec![]], schema.clone(), None).unwrap();
    assert_eq!(spread::bytes_read(&(DataSourceExec::from_data_source(memory) as _)), Some(0));
}
